"""The command line: grids, resume after SIGKILL, and bad input answered with one clear message."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.dataset.fixtures import make_image_folder, truncate
from tests.running import ROOT, TINY, all_scores, command, config

GRID = ("-m", "sampler=black,gray", "seed=0,1")


def test_a_grid_gives_a_score_folder_per_job_and_repeated_does_no_work(tmp_path):
    first = command(tmp_path, *GRID)
    assert first.returncode == 0, first.stderr
    columns = all_scores(tmp_path)
    lines = first.stdout.strip().splitlines()
    assert len(columns) == 4 and sum(line.startswith("results: ") for line in lines) == 4
    table = Path(lines[-1].removeprefix("table:").partition("/table.md")[0].strip())
    assert "4 of 4 jobs done" in first.stdout and len(list(csv.DictReader((table / "table.csv").open()))) == 2 * 8, (
        "a row a sampler, seeds folded"
    )
    for folder in (tmp_path / "score").iterdir():
        assert json.loads((folder / "status.json").read_text())["state"] == "done"
        assert {p.name for p in folder.iterdir()} >= {"config.yaml", "status.json", "scores.parquet", "summary.json"}
    again = command(tmp_path, *GRID)
    assert again.stdout.count("already done") == 4 and all_scores(tmp_path) == columns


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [4.0, 5.5, 7.0])
def test_a_killed_grid_continues_with_the_same_numbers(tmp_path, seconds):
    big = (*GRID, "n_images=48", "explainer.n_samples=64")
    assert command(tmp_path / "whole", *big).returncode == 0
    arguments = [sys.executable, "-m", "pomelo_lab.run", "-m", *TINY, f"paths.outputs={tmp_path / 'cut'}", *big[1:]]
    job = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert command(tmp_path / "cut", *big).returncode == 0
    assert all_scores(tmp_path / "cut") == all_scores(tmp_path / "whole")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["explaner.n_samples=3"], ["Could not override 'explaner.n_samples'", "did you mean 'explainer'?"]),
        (["explainer.n_smaples=3"], ["did you mean 'n_samples'?"]),
        (["sampler=blak"], ["Could not find 'sampler/blak'", "did you mean 'black'?"]),
        (["batch_size=abc"], ["batch_size", "abc"]),
        (["batchsize=3"], ["did you mean 'batch_size'?"]),
        (
            ["explainer.n_samples=abc", "+sampler.sgima=2", "seed=-1"],
            [
                "3 problems",
                "explainer.n_samples must be an integer >= 1, got 'abc'",
                "sampler.sgima is unknown",
                "seed must be >= 0, got -1",
            ],
        ),
        (["metrics=explanation"], ["metrics.iou: IoU needs masks, dataset Digits has none"]),
        (
            ["sampler@metrics.deletion_gray.filler=reference_noise"],
            [
                "metrics.deletion_gray.filler must be a Filler, got ReferenceSampler (a sampler that can fill what a "
                "mask "
                "removed"
            ],
        ),
        (["segmenter.n_segments=5000"], ["segmenter.n_segments must be <= 256 (16x16 pixels), got 5000"]),
        (["target=17.5"], ["target must be"]),
        (["explainer=none"], ["scores explanations, explainer is none"]),
        (["sampler=none"], ["needs perturbations, sampler is none"]),
        (["device=cuda:7"], ["device=cuda:7: no such GPU here"]),
        (["dataset=image_folder"], ["dataset.root is missing"]),
        (["dataset=image_folder", "+dataset.root=/nowhere/x", "~dataset.size_px"], ["/nowhere/x"]),
        (["classifier.weights=/nowhere.safetensors"], ["classifier.weights: there is no file /nowhere.safetensors"]),
    ],
    ids=lambda v: "+".join(v)[:40] if isinstance(v, list) else None,
)
def test_bad_input_is_answered_by_a_clear_message(tmp_path, overrides, expected):
    tiny = tuple(t for t in TINY if not (t.startswith("dataset") and any(o.startswith("dataset=") for o in overrides)))
    output = command(
        tmp_path, *tiny, *[o.replace("+dataset.root", "dataset.root") for o in overrides if o[0] != "~"], tiny=False
    )
    assert output.returncode in (1, 2)
    for text in expected:
        assert text in output.stderr + output.stdout
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "score").exists() or not list((tmp_path / "score").glob("*/scores.parquet"))


def folder_run(tmp_path, *more):
    """The tiny job on an image folder."""
    tiny = [t for t in TINY if not t.startswith("dataset")]
    data = ["dataset=image_folder", f"dataset.root={tmp_path / 'data'}", "dataset.size_px=16"]
    return command(tmp_path / "out", *tiny, *data, *more, tiny=False)


def test_a_truncated_image_is_named(tmp_path):
    make_image_folder(tmp_path / "data", {"cat": 6, "dog": 6}, size=(40, 30))
    assert folder_run(tmp_path, "dataset.split=train").returncode == 0
    [victim, *_] = sorted((tmp_path / "data" / "cat").glob("*.png"))
    for path in (tmp_path / "data").rglob("*.png"):
        truncate(path)
    folder_output = folder_run(tmp_path, "dataset.split=train", "seed=1")
    assert (
        folder_output.returncode == 1
        and ".png" in folder_output.stderr
        and "Traceback" not in folder_output.stderr
        and victim.exists()
    )


def test_an_empty_folder_and_a_class_without_images_are_named(tmp_path):
    (tmp_path / "data").mkdir()
    assert str(tmp_path / "data") in folder_run(tmp_path).stderr
    make_image_folder(tmp_path / "data", {"cat": 3}, size=(40, 30))
    (tmp_path / "data" / "dog").mkdir()
    folder_output = folder_run(tmp_path)
    assert folder_output.returncode == 1 and "dog" in folder_output.stderr


def test_a_weights_file_of_another_architecture_is_refused(tmp_path):
    from safetensors.torch import save_file
    from torch import zeros

    save_file({"conv.weight": zeros(3)}, tmp_path / "other.safetensors")
    output = command(tmp_path / "out", f"classifier.weights={tmp_path / 'other.safetensors'}")
    assert output.returncode == 1 and "classifier.weights" in output.stderr and "does not fit" in output.stderr


def test_a_plan_and_help_run_nothing(tmp_path):
    plan = command(tmp_path, "dry_run=true")
    assert plan.returncode == 0 and all(head in plan.stdout for head in ("evaluations", "queries", "on disk", "time"))
    assert not (tmp_path / "score").exists()
    shown = command(tmp_path, "--help")
    assert shown.returncode == 0 and "sampler:" in shown.stdout


def test_a_users_own_component_runs_from_outside(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from pomelo_lab.sampler.base import BaseImageFiller\n\n\n"
        "@dataclass(kw_only=True)\nclass RedSampler(BaseImageFiller):\n"
        '    """Red."""\n\n'
        "    red: float = 1.0\n\n"
        "    def base(self, image, streams, image_ids, segments):\n"
        "        return image.new_tensor([self.red, 0, 0])[:, None, None].expand_as(image)\n"
    )
    environment = own_conf(tmp_path, red="_target_: mine.RedSampler\nred: 0.9\n")
    output = command(tmp_path / "out", "--config-dir", str(tmp_path / "conf"), "sampler=red", env=environment)
    assert output.returncode == 0, output.stderr
    wrong = command(
        tmp_path / "out", "--config-dir", str(tmp_path / "conf"), "sampler=red", "+sampler.rad=1", env=environment
    )
    assert wrong.returncode == 1 and "sampler.rad is unknown to RedSampler, did you mean 'red'?" in wrong.stderr


def own_conf(tmp_path, **samplers):
    """A config folder with samplers, and the environment in which `mine` can be imported."""
    import os

    conf = tmp_path / "conf" / "sampler"
    conf.mkdir(parents=True)
    for name, text in samplers.items():
        (conf / f"{name}.yaml").write_text(text)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.slow
def test_a_grid_shows_its_table_whatever_happened_to_some_cells(tmp_path):
    """One cell runs, one fails, one cannot be built on this data: the table names the last two, and the exit code tells
    of the failure."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from pomelo_lab.sampler.base import BaseImageFiller\n\n\n"
        "@dataclass(kw_only=True)\nclass RedSampler(BaseImageFiller):\n"
        '    """Red, until there is no paint."""\n\n'
        "    red: float = 1.0\n\n"
        "    def base(self, image, streams, image_ids, segments):\n"
        "        if not self.red:\n            raise ValueError('sampler.red is out of paint')\n"
        "        return (0 * image).add(self.red)\n"
    )
    target = "_target_: mine.RedSampler\nred: "
    environment = own_conf(tmp_path, red=f"{target}0.9\n", dry=f"{target}0.0\n")
    small = (
        "dataset=digits",
        "dataset.size_px=16",
        "classifier.weights=null",
        "scale=smoke",
        "tracking=none",
        "n_images=2",
    )
    grid = (
        "-m",
        "--config-dir",
        str(tmp_path / "conf"),
        "experiment=pomelo_table1",
        *small,
        "~metrics.silhouette",
        "~metrics.mahalanobis",
    )
    failed = command(tmp_path / "out", *grid, "sampler=red,dry,ideal", tiny=False, env=environment)
    assert failed.returncode != 0 and "skipped: sampler=ideal: needs Portraits, not Digits" in failed.stderr
    assert (
        "failed: sampler=dry: sampler.red is out of paint" in failed.stderr
        and "1 of 2 jobs done, 1 failed" in failed.stdout
    )
    assert failed.stderr.strip().splitlines()[-2:] == ["1 of 3 failed:", "  sampler=dry: sampler.red is out of paint"]
    assert (
        "not on this data (–): sampler=ideal: needs Portraits, not Digits" in failed.stdout
        and "does not exist" not in failed.stderr
    )
    whole = command(tmp_path / "out", *grid, "sampler=red,ideal", tiny=False, env=environment)
    assert whole.returncode == 0 and "1 of 1 jobs done" in whole.stdout, whole.stderr
    configs = [yaml.safe_load(path.read_text()) for path in (tmp_path / "out").glob("score/*/config.yaml")]
    assert [c["search_path"] for c in configs] == [[f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]] * len(
        configs
    ) and configs


def test_an_interrupted_command_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys):
    from pomelo_lab import run

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "main", interrupted)
    with pytest.raises(SystemExit) as stop:
        run.cli()
    told = capsys.readouterr().err
    assert (
        stop.value.code == 130
        and "stopped: " in told
        and "the same command continues there" in told
        and "Traceback" not in told
    )


def test_an_interrupted_job_is_no_failed_one(tmp_path):
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.scores import Scores
    from pomelo_lab.engine.store import Store

    scores = Scores(Job(config(tmp_path), Store(tmp_path)))
    with pytest.raises(KeyboardInterrupt), scores.record_state():
        raise KeyboardInterrupt
    assert scores.status["state"] == "interrupted" and "error" not in scores.status


def test_masks_of_a_folder_are_read(tmp_path):
    make_image_folder(tmp_path / "data", {"cat": 6, "dog": 6}, size=(40, 30), masks=("body",))
    assert Image.open(next((tmp_path / "data").rglob("*.png"))).size == (40, 30)
    metric = ["metrics=explanation", "~metrics.iou", "metrics.emr.part=body", "metrics.emp.part=body"]
    folder_output = folder_run(tmp_path, "dataset.split=train", "dataset.masks=masks", *metric)
    assert folder_output.returncode == 0, folder_output.stderr


def test_two_presets_run_after_each_other(tmp_path):
    done = command(tmp_path, "-m", "experiment=pomelo_fig5,pomelo_fig6", "sampler=gray", "scale=smoke", tiny=False)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "tables").iterdir()} == {"pomelo_fig5", "pomelo_fig6"}
