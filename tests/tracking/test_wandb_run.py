"""Offline W&B: a run per job, ids from fingerprints, failures finished as failed, and never a lost result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab import tracking
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.tracking import wandb_run
from tests.running import all_scores, command


class FakeRun:
    def __init__(self, **options):
        self.options, self.summary, self.logged, self.exit_code = options, {}, [], None

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code=0):
        self.exit_code = exit_code


class FakeScores:
    def __init__(self, root):
        store = type("Store", (), {"root": root})
        self.job = type("Job", (), {"store": store, "fingerprint": digest({"a": 1}), "explains": False})


CONFIG = {
    "tracking": {"mode": "offline", "project": "p", "entity": None, "n_overlays": 0},
    "choices": {"dataset": "digits", "explainer": "lime", "sampler": "gray", "scale": "smoke"},
    "dataset": {"size_px": 16},
    "explainer": {},
    "sampler": {},
    "scale": {},
    "seed": 3,
    "paper_table": "pomelo_table2",
    "paths": {"outputs": "x"},
}


@pytest.fixture
def runs(monkeypatch):
    import wandb

    made = []

    def init(**options):
        made.append(FakeRun(**options))
        return made[-1]

    monkeypatch.setattr(wandb, "init", init)
    return made


def test_a_failed_job_is_finished_as_failed_and_the_next_gets_its_own_run(tmp_path, runs):
    with pytest.raises(RuntimeError), tracking.session(CONFIG, FakeScores(tmp_path)):
        raise RuntimeError("broken")
    with tracking.session(CONFIG, FakeScores(tmp_path)):
        pass
    assert [run.exit_code for run in runs] == [1, 0]


def test_names_groups_and_filter_columns(tmp_path, runs):
    with tracking.session(CONFIG, FakeScores(tmp_path)):
        pass
    options = runs[0].options
    assert options["id"] == FakeScores(tmp_path).job.fingerprint and options["group"] == "pomelo_table2"
    assert options["name"] == "lime/gray/digits/s3" and options["job_type"] == "lime" and "smoke" in options["tags"]
    assert options["config"]["sampler"] == "gray" and options["config"]["dataset_config"] == {"size_px": 16}


def test_jobs_of_a_grid_share_a_group(tmp_path, runs, monkeypatch):
    from pomelo_lab.results.callback import GROUP

    plain = {**CONFIG, "paper_table": None}
    with tracking.session(
        {**plain, "choices": {**CONFIG["choices"], "experiment": "pomelo_quickstart"}}, FakeScores(tmp_path)
    ):
        pass
    monkeypatch.setenv(GROUP, "sampler-123456")
    with tracking.session(plain, FakeScores(tmp_path)):
        pass
    assert [run.options["group"] for run in runs] == ["pomelo_quickstart", "sampler-123456"]


def test_a_table_without_a_preset_is_in_the_group_that_its_grid_gives(tmp_path, runs):
    plain = {**CONFIG, "paper_table": None, "choices": {}, "paths": {"outputs": str(tmp_path)}}
    tracking.log_table(plain, "sampler", tmp_path, group="sampler-123456")
    assert runs[0].options["group"] == "sampler-123456" and runs[0].options["job_type"] == "table"


def test_no_folder_of_this_machine_leaves_it(tmp_path, runs):
    places = {
        "root": "/home/me/faces",
        "weights": "C:\\nets\\r18.pt",
        "function": "/home/me/mine.py:predict",
        "name": "zoo:portraits",
    }
    config = {**CONFIG, "dataset": places, "search_path": ["hydra.searchpath=[file:///home/me]"]}
    with tracking.session(config, FakeScores(tmp_path)):
        pass
    sent = runs[0].options["config"]
    assert sent["dataset_config"] == {
        "root": "faces",
        "weights": "r18.pt",
        "function": "mine.py:predict",
        "name": "zoo:portraits",
    }
    assert (
        "home" not in str(sent)
        and runs[0].options["settings"].x_disable_meta
        and runs[0].options["settings"].x_disable_machine_info
    )


def test_the_table_of_a_grid_is_a_run_of_its_own(tmp_path):
    """What is logged is what is read back: wandb offline, as everybody has it first."""
    folder = tmp_path / "tables" / "mine" / "smoke"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("row,mean,published_mean\ngray,0.5,0.75\n")
    claim = {
        "verdict": "holds",
        "section": "4",
        "says": "gray wins",
        "decided_by": "gray < blur",
        "published_numbers": "agrees",
    }
    (folder / "claims.json").write_text(json.dumps([claim]))
    figure = tmp_path / "bars.png"
    Image.fromarray(np.full((9, 9, 3), 200, np.uint8)).save(figure)
    tracking.log_table({**CONFIG, "paths": {"outputs": str(tmp_path)}}, "mine", folder, [figure])
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    tables = [json.loads(path.read_text()) for path in run.glob("files/media/table/**/*.json")]
    assert sorted(len(table["data"][0]) for table in tables) == [3, 5] and ["gray", "0.5", "0.75"] in [
        t["data"][0] for t in tables
    ]
    (picture,) = run.glob("files/media/images/**/*.png")
    assert int(np.asarray(Image.open(picture)).max()) == 200
    assert run.name.rpartition("-")[2].startswith("table")
    assert not list(run.glob("files/wandb-metadata.json"))
    tracking.log_table({**CONFIG, "tracking": None}, "mine", folder)


def test_under_a_sweep_agent_the_id_is_left_to_it(tmp_path, runs, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s")
    with tracking.session(CONFIG, FakeScores(tmp_path)):
        pass
    assert runs[0].options["id"] is None


def test_an_unreachable_server_is_a_warning(tmp_path, monkeypatch, caplog):
    import wandb

    def unreachable(**_):
        raise wandb.errors.CommError("no network")

    monkeypatch.setattr(wandb, "init", unreachable)
    with tracking.session(CONFIG, FakeScores(tmp_path)) as tracker:
        tracker.log(None, {})
    assert "the results are on disk all the same" in caplog.text


def test_an_interrupted_run_of_the_same_job_is_replaced(tmp_path):
    old = tmp_path / "offline-run-20260101_000000-abcd"
    other = tmp_path / "offline-run-20260101_000000-ffff"
    old.mkdir()
    other.mkdir()
    wandb_run.remove_stale(tmp_path, "abcd")
    assert not old.exists() and other.exists()


def test_pictures_arrive_as_they_are():
    """Floats become black: wandb takes them for bytes."""
    import wandb

    picture = torch.rand(3, 8, 8)
    logged = np.asarray(wandb.Image(wandb_run.pixels(picture)).image.convert("RGB"))
    assert np.abs(logged / 255 - picture.permute(1, 2, 0).numpy()).max() <= 0.5 / 255 + 1e-6


def test_each_job_of_a_grid_gets_its_own_offline_run(tmp_path):
    output = command(tmp_path, "-m", "seed=0,1", "tracking=wandb_offline", "metrics=none")
    assert output.returncode == 0, output.stderr
    ids = {p.name.rpartition("-")[2] for p in (tmp_path / "wandb").glob("offline-run-*")}
    assert ids == set(all_scores(tmp_path)) and len(ids) == 2
    for status in (tmp_path / "score").glob("*/status.json"):
        assert json.loads(status.read_text())["state"] == "done"
    for run in (tmp_path / "wandb").glob("offline-run-*"):
        pictures = [np.asarray(Image.open(path).convert("RGB")) for path in run.glob("files/media/images/*.png")]
        assert len(pictures) == 4 + 1 and min(int(picture.max()) for picture in pictures) > 100, (
            "an overlay per image, and the sheet"
        )
