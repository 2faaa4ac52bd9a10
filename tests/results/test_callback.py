import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from pomelo_lab.results.callback import SKIPPED, PrintTable, after_failure, is_table, nothing_built, split


def config(overrides, dry_run=False, sources=()):
    hydra = {"overrides": {"task": overrides}, "runtime": {"config_sources": list(sources)}}
    return OmegaConf.create({"dry_run": dry_run, "seed": 3, "hydra": hydra})


@pytest.fixture
def asked(monkeypatch):
    calls = []
    monkeypatch.setattr("pomelo_lab.results.show.show", lambda *a: calls.append(a))
    yield calls
    PrintTable.unfinished, PrintTable.built, PrintTable.skipped = None, 0, 0


def ended(status, value):
    return JobReturn(overrides=["sampler=blur"], status=status, _return_value=value)


def test_a_grid_with_a_failed_job_still_shows_its_table_and_names_the_job(asked, capsys):
    """Hydra raises after the last job and never says that the grid ended."""
    grid = PrintTable()
    grid.on_multirun_start(config(["experiment=pomelo_table1"]))
    grid.on_job_end(None, ended(JobStatus.FAILED, ValueError("no paint")))
    assert "failed: sampler=blur: ValueError: no paint" in capsys.readouterr().err and asked == []
    after_failure()
    after_failure()
    assert asked == [("pomelo_table1", [])], "once"


def test_single_jobs_and_ended_grids_have_no_table_left(asked):
    after_failure()
    PrintTable().on_job_end(None, ended(JobStatus.COMPLETED, SKIPPED))
    assert asked == [] and not nothing_built()


@pytest.mark.parametrize(("results", "nothing"), [([SKIPPED], True), ([SKIPPED, None], False), ([None], False)])
def test_a_grid_that_skipped_every_cell_built_nothing(asked, results, nothing):
    grid = PrintTable()
    grid.on_multirun_start(config([]))
    for value in results:
        grid.on_job_end(None, ended(JobStatus.COMPLETED, value))
    assert nothing_built() is nothing


def test_the_table_is_composed_from_the_config_folders_of_the_run(asked):
    sources = [{"path": p, "schema": "file", "provider": v} for p, v in (("/ours", "main"), ("/mine", "command-line"))]
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1", "sampler=red"], sources=sources))
    assert asked == [("pomelo_table1", ["hydra.searchpath=[file:///mine]", "sampler=red"])]


def test_split_finds_presets_by_name_list_and_glob():
    rest = ["scale=smoke", "sampler=black,gray"]
    assert split(["experiment=pomelo_table1", *rest]) == (["pomelo_table1"], rest)
    assert split(["experiment=pomelo_table1,pomelo_fig4"])[0] == ["pomelo_table1", "pomelo_fig4"]
    assert "pomelo_table2" in split(["experiment=glob(pomelo_table*)"])[0]
    assert split(["seed=1,2"]) == ([], ["seed=1,2"])
    assert is_table("pomelo_table1") and not is_table("mine")


def test_failure_is_told_and_not_raised(monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no disk")

    monkeypatch.setattr("pomelo_lab.results.show.show", broken)
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1"]))
    assert "no table: RuntimeError: no disk" in capsys.readouterr().err


def test_table_is_shown_with_the_command_lines_overrides(monkeypatch):
    asked = []
    monkeypatch.setattr("pomelo_lab.results.show.show", lambda *a: asked.append(a))
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1", "scale=smoke", "classifier.init_seed=${seed}"]))
    PrintTable().on_multirun_end(config(["experiment=pomelo_table1"], dry_run=True))
    PrintTable().on_multirun_end(config(["seed=1,2"]))
    assert asked == [("pomelo_table1", ["scale=smoke", "classifier.init_seed=${seed}"])]
