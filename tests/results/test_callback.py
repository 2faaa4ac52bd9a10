import os
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from pomelo_lab.config.check import ConfigError
from pomelo_lab.config.entry import CONF
from pomelo_lab.results import grid_run as grids
from pomelo_lab.results.callback import (
    FAILED,
    GROUP,
    SKIPPED,
    PrintTable,
    after_failure,
    exit_status,
    is_table,
    job_failed,
    one_preset_each,
    split_command_line,
)
from pomelo_lab.results.grid import refusals
from tests.results.fake import FakeCell


def config(overrides, dry_run=False, sources=()):
    hydra = {"overrides": {"task": overrides}, "runtime": {"config_sources": list(sources)}}
    return OmegaConf.create({"dry_run": dry_run, "seed": 3, "hydra": hydra})


def points(n, **values):
    return [FakeCell({}, point={"sampler": str(k)}, **values) for k in range(n)]


@pytest.fixture
def asked(monkeypatch):
    """What is shown at the end of grids of two cells: (preset, overrides) of tables, the cells of grids without one."""
    calls = []
    monkeypatch.setattr("pomelo_lab.results.show.show", lambda table, overrides, grid: calls.append((table, overrides)))
    monkeypatch.setattr(grids, "show_grid", lambda part, preset, overrides: calls.append((preset, overrides)))
    monkeypatch.setattr(grids, "cells", lambda *_, **__: points(2))
    monkeypatch.setattr(
        "pomelo_lab.results.grid_plan.print_grid_plan", lambda cells: calls.append(("plan", len(cells)))
    )
    yield calls
    PrintTable.grid = PrintTable.ended = None
    os.environ.pop(GROUP, None)


def ended(value=None, status=JobStatus.COMPLETED):
    return JobReturn(overrides=["sampler=1", "seed=0"], status=status, _return_value=value)


def start(*overrides, **options):
    callback = PrintTable()
    callback.on_multirun_start(config(list(overrides), **options))
    return callback


def test_a_failed_job_is_named_counted_and_does_not_end_the_grid(asked, capsys):
    callback = start("seed=0", "sampler=0,1")
    assert job_failed(["sampler=1", "seed=0"], ConfigError("no paint")) == FAILED
    callback.on_job_end(None, ended(FAILED))
    callback.on_job_end(None, ended())
    callback.on_multirun_end(config([]))
    assert "failed: sampler=1: no paint" in capsys.readouterr().err and len(asked) == 1
    assert exit_status() == "1 of 2 failed:\n  sampler=1: no paint" and exit_status() is None, "once"


def test_an_error_that_is_no_message_shows_its_stack(asked, capsys):
    start("sampler=0,1")
    job_failed(["sampler=1"], ZeroDivisionError("by nothing"))
    told = capsys.readouterr().err
    assert "failed: sampler=1: ZeroDivisionError: by nothing" in told and told.count("by nothing") == 2


def test_a_job_that_raised_in_another_process_still_has_its_table(asked, capsys):
    """Hydra raises after the last job and never says that the grid ended."""
    start("experiment=pomelo_table1", "sampler=0,1")
    after_failure()
    after_failure()
    assert [table for table, _ in asked] == ["pomelo_table1"], "once"


def test_a_table_is_tracked_in_the_group_of_its_jobs(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(grids, "show_grid", lambda part, preset, overrides: tmp_path / "tables" / "sampler" / "smoke")
    monkeypatch.setattr(PrintTable, "tables", [])
    callback = start("sampler=0,1", "seed=0")
    shared = os.environ[GROUP]
    callback.on_multirun_end(config([]))
    [(*_, group)] = PrintTable.tables
    assert group == shared and shared.startswith("sampler-")


def test_jobs_of_other_processes_are_counted_by_their_folders(asked, monkeypatch):
    monkeypatch.setattr(
        grids,
        "cells",
        lambda *_, **__: [*points(1), *points(2, state="failed", status={"error": "ValueError: no paint"})[1:]],
    )
    start("sampler=0,1")
    after_failure()
    assert exit_status() == "1 of 2 failed:\n  sampler=1: ValueError: no paint"


def test_a_single_job_raises(asked):
    with pytest.raises(ConfigError):
        job_failed([], ConfigError("no paint"))
    after_failure()
    PrintTable().on_job_end(None, ended(SKIPPED))
    assert asked == [] and exit_status() is None


def test_cells_of_other_data_are_none_of_the_others_that_run():
    wrong, foreign = points(2, error="a black box", state="failed"), points(3, lacks="ImageFolder has no label")[2:]
    cell_count = len([*wrong, *foreign])
    assert next(refusals(wrong, cell_count, len(foreign))) == "2 of 3 cells cannot run, 1 not for this data set:"
    assert next(refusals(wrong, cell_count + 1, len(foreign))).endswith("1 not for this data set, the others do:")


def test_cells_that_cannot_run_are_refused_before_the_first_starts(asked, monkeypatch, capsys):
    wrong = {"error": "the config has 1 problem:\n  - target must be a class, got 'blondd'", "state": "failed"}
    monkeypatch.setattr(grids, "cells", lambda *_, **__: [*points(1), *points(3, **wrong)[1:]])
    start("sampler=0,1,2")
    assert (
        capsys.readouterr().err
        == "2 of 3 cells cannot run, the others do:\n  sampler=1 and 1 more: target must be a class, got 'blondd'\n"
    )
    job_failed(["sampler=1"], ConfigError(wrong["error"]))
    assert capsys.readouterr().err == "refused, as said above: sampler=1\n"
    monkeypatch.setattr(grids, "cells", lambda *_, **__: points(2, **wrong))
    with pytest.raises(SystemExit):
        start("sampler=0,1")
    after_failure()
    assert asked == [], "no table of nothing"


@pytest.mark.parametrize(("results", "nothing"), [([SKIPPED], True), ([SKIPPED, None], False), ([None], False)])
def test_a_grid_that_skipped_every_cell_says_so(asked, results, nothing, capsys):
    callback = start("sampler=0,1")
    for value in results:
        callback.on_job_end(None, ended(value))
    callback.on_multirun_end(config([]))
    assert ("no cell of this grid can be built on this data set" in capsys.readouterr().err) == nothing
    assert exit_status() is None, "gaps are named, nothing failed"


def test_the_table_is_composed_from_the_config_folders_of_the_run(asked):
    sources = [{"path": p, "schema": "file", "provider": v} for p, v in (("/ours", "main"), ("/mine", "command-line"))]
    start("experiment=pomelo_table1", "sampler=red", sources=sources).on_multirun_end(config([]))
    assert asked == [("pomelo_table1", ["hydra.searchpath=[file:///mine]", "sampler=red"])]


def test_split_finds_presets_by_name_list_and_glob():
    rest = ["scale=smoke", "sampler=black,gray"]
    assert split_command_line(["experiment=pomelo_table1", *rest]) == (["pomelo_table1"], rest)
    assert split_command_line(["experiment=pomelo_table1,pomelo_fig4"])[0] == ["pomelo_table1", "pomelo_fig4"]
    assert "pomelo_table2" in split_command_line(["experiment=glob(pomelo_table*)"])[0]
    assert split_command_line(["seed=1,2"]) == ([], ["seed=1,2"])
    assert is_table("pomelo_table1") and not is_table("mine")


def test_a_table_that_fails_is_told_at_the_exit_and_not_raised(asked, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no disk")

    monkeypatch.setattr("pomelo_lab.results.show.show", broken)
    start("experiment=pomelo_table1").on_multirun_end(config([]))
    assert exit_status() == "(no table: RuntimeError: no disk)"


def test_a_broken_report_ends_a_grid_before_its_first_job(asked, tmp_path, capsys):
    (tmp_path / "reports").mkdir()
    file = tmp_path / "reports" / "me.yaml"
    file.write_text("paper: Me\ntables: []\n")
    sources = [{"path": str(tmp_path), "schema": "file", "provider": "command-line"}]
    with pytest.raises(SystemExit, match="1"):
        start("experiment=pomelo_table1", sources=sources)
    assert capsys.readouterr().err.startswith(f"{file}: tables: expected a list") and PrintTable.grid is None


def test_every_grid_has_a_table_and_a_plan_its_sum(asked):
    start("experiment=pomelo_table1", "scale=smoke", "classifier.init_seed=${seed}").on_multirun_end(config([]))
    start("experiment=pomelo_table1").on_multirun_end(config([], dry_run=True))
    start("experiment=pomelo_quickstart").on_multirun_end(config([]))
    start("seed=1,2").on_multirun_end(config([]))
    assert asked == [
        ("pomelo_table1", ["scale=smoke", "classifier.init_seed=${seed}"]),
        ("plan", 2),
        ("pomelo_quickstart", []),
        ("", ["seed=1,2"]),
    ]


def test_all_jobs_of_a_grid_share_a_name_while_it_runs(asked):
    callback = start("sampler=0,1", "scale=smoke", "paths.outputs=/here")
    name = os.environ[GROUP]
    callback.on_multirun_end(config([]))
    assert GROUP not in os.environ
    start("scale=smoke", "sampler=0,1", "paths.outputs=/there")
    assert os.environ[GROUP] == name and name.startswith("sampler-"), "the same elsewhere and when it is continued"
    start("sampler=0,1", "scale=quick")
    assert os.environ[GROUP] != name
    start("experiment=pomelo_quickstart")
    assert os.environ[GROUP] == "pomelo_quickstart"


def test_each_of_several_presets_is_a_grid_of_its_own():
    both = ["-m", "experiment=pomelo_fig4,pomelo_fig5", "scale=smoke"]
    assert one_preset_each(both) == [["-m", "scale=smoke", f"experiment=pomelo_fig{i}"] for i in (4, 5)]
    [glob] = {len(one_preset_each(["-m", "experiment=glob(dime_fig*)"]))}
    assert glob == len(list(Path(CONF, "experiment").glob("dime_fig*.yaml"))) > 1
    for alone in (both[1:], [*both, "dry_run=true"], ["-m", "experiment=pomelo_fig4"], ["-m", "seed=0,1"]):
        assert one_preset_each(alone) == [alone]
