"""A folder that cannot be written is one line, also before the first job, and what is finished is still shown."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import pomelo_lab.train  # noqa: F401 (registers the schema of the command)
from pomelo_lab.config import outputs
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.outputs import Records, unwritable
from pomelo_lab.run import run
from tests.running import config


def test_what_cannot_be_written_is_said_in_the_system_s_words_and_nothing_is_left_of_the_question(tmp_path):
    (tmp_path / "file").write_text("")
    assert unwritable(tmp_path / "file" / "out") == "Not a directory"
    assert unwritable(tmp_path / "new" / "deep") == "" and not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    assert (
        unwritable(tmp_path / "there") == ""
        and (tmp_path / "there").exists()
        and not list((tmp_path / "there").iterdir())
    )


@pytest.mark.parametrize(
    ("place", "dry_run", "moved"), [("file/out", False, True), ("out", True, True), ("out", False, False)]
)
def test_hydra_s_records_go_where_they_can_be_written_and_a_plan_leaves_none(tmp_path, place, dry_run, moved):
    (tmp_path / "file").write_text("")
    made = {
        "paths": {"outputs": str(tmp_path / place)},
        "dry_run": dry_run,
        "hydra": {"run": {"dir": "r"}, "sweep": {"dir": "s"}},
    }
    cfg = OmegaConf.create(made)
    OmegaConf.set_readonly(cfg.hydra, True)
    Records().on_run_start(cfg)
    Records().on_multirun_start(cfg)
    assert (cfg.hydra.run.dir != "r") == (cfg.hydra.sweep.dir != "s") == moved
    assert not moved or Path(cfg.hydra.run.dir).is_dir()


def test_finished_work_is_shown_from_a_folder_that_cannot_be_written_and_other_work_is_one_line(
    tmp_path, capsys, monkeypatch
):
    made = run(config(tmp_path, "n_images=2", "metrics=none"))
    monkeypatch.setattr(outputs, "unwritable", lambda folder: "Read-only file system")
    monkeypatch.setattr("pomelo_lab.engine.store.Store.lock", lambda *_: pytest.fail("a lock file would be written"))
    assert run(config(tmp_path, "n_images=2", "metrics=none")) == made and "already done" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match=f"^paths.outputs={re.escape(str(tmp_path))} cannot be written: Read-only file system; choose"
    ):
        run(config(tmp_path, "n_images=2", "metrics=none", "seed=1"))


@pytest.mark.parametrize("name", ["run", "train"])
def test_two_commands_of_one_second_have_folders_of_their_own(name):
    with initialize_config_dir(CONF, version_base="1.3"):
        hydra = compose(name, return_hydra_config=True).hydra
    for kind in ("run", "sweep"):
        assert "%H-%M-%S-%f" in OmegaConf.to_container(hydra)[kind]["dir"]  # microseconds
