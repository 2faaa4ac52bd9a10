"""Every stored file, damaged in four ways, is noticed by its name, made again, and the numbers are the same."""

from __future__ import annotations

import shutil

import pytest
import torch

from pomelo_lab.engine.score_files import read_status
from pomelo_lab.engine.scores import Scores
from pomelo_lab.results.grid import GridCell
from pomelo_lab.run import run
from pomelo_lab.training.train import train_component
from pomelo_lab.training.trained import resolve, say_once
from tests.running import TINY, config, scores

WAYS = ("bit", "cut", "zeros", "empty")
TRAINED = ["bit", *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS[1:])]  # a training each
FUNCTION = """
import torch
def predict(images):
    return torch.softmax(images.mean(1).flatten(1)[:, ::25][:, :10] * 6, -1)
"""


def damaged(path, way):
    """Damage a file: one bit, its second half cut off, zeros, nothing left."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(
        {"bit": bytes(data), "cut": bytes(data[: len(data) // 2]), "zeros": bytes(len(data)), "empty": b""}[way]
    )


# --- jobs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The config of a finished job, its folder, its scores and summary."""
    root = tmp_path_factory.mktemp("job")
    (root / "own.py").write_text(FUNCTION)
    given = (
        "classifier=callable",
        f"classifier.function={root / 'own.py'}:predict",
        "metrics=lime_report",
        "sampler=gray",
    )
    composed = config(root / "outputs", *given, base=[text for text in TINY if not text.startswith("classifier")])
    folder = run(composed)
    cell = GridCell({}, {}, composed)
    return composed, folder, cell.scores(), cell.summary


def shard(folder, kind):
    """The shard of an artefact that the job rests on; of the explanations its own, not those of other seeds."""
    own = read_status(folder).get("folders", {}).get(kind, f"{kind}/*")
    return sorted(folder.parents[1].glob(f"{own}/*.safetensors"))[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["scores.parquet", "summary.json", "status.json"])
def test_a_damaged_score_file_is_in_no_table_and_made_again(job, name, way, caplog, capsys):
    composed, folder, columns, summary = job
    damaged(folder / name, way)
    cell = GridCell({}, {}, composed)
    assert (
        cell.state == "damaged"
        and cell.summary == {} == cell.scores()
        and cell.status["damaged"] == [str(folder / name)]
    )
    assert (
        run(composed) == folder
        and "already done" not in capsys.readouterr().out
        and f"{folder / name} is damaged" in caplog.text
    )
    cell = GridCell({}, {}, composed)
    assert cell.state == "done" and (cell.scores(), cell.summary) == (columns, summary)
    assert run(composed) == folder and "already done" in capsys.readouterr().out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["explanation", "metric"])
def test_a_damaged_artefact_of_a_finished_job_is_made_again(job, kind, way, caplog, capsys):
    composed, folder, columns, summary = job
    victim = shard(folder, kind)
    whole = victim.read_bytes()
    damaged(victim, way)
    assert (
        run(composed) == folder
        and "already done" not in capsys.readouterr().out
        and f"{victim} is damaged" in caplog.text
    )
    assert scores(folder) == columns and len(victim.read_bytes()) == pytest.approx(len(whole), abs=200)
    assert run(composed) == folder and "already done" in capsys.readouterr().out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["clean", "perturbation", "prediction"])
def test_a_damaged_artefact_that_others_rest_on_is_made_again(job, kind, way, caplog):
    composed, folder, columns, _ = job
    damaged(shard(folder, kind), way)
    for rest in (folder, *folder.parents[1].glob("explanation/*"), *folder.parents[1].glob("metric/*")):
        shutil.rmtree(rest)
    assert scores(run(composed)) == columns and f"{kind}/" in caplog.text and "is damaged" in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_sheet_is_drawn_again_and_the_job_stays_done(job, way, caplog, capsys):
    composed, folder, *_ = job
    whole = (folder / "sheet.png").read_bytes()
    damaged(folder / "sheet.png", way)
    (folder / "sheet-2.png").write_bytes(whole[:-400])
    assert run(composed) == folder and "already done" in capsys.readouterr().out
    assert (folder / "sheet.png").read_bytes() == whole and not (folder / "sheet-2.png").exists()
    assert f"{folder / 'sheet.png'} is damaged" in caplog.text and f"{folder / 'sheet-2.png'} is damaged" in caplog.text
    caplog.clear()
    assert run(composed) == folder and "damaged" not in caplog.text


@pytest.mark.parametrize(
    "name", ["config.yaml", "scores.parquet", "summary.json", "status.json", "explanation", "metric"]
)
def test_what_is_missing_is_no_finished_job(job, name, capsys):
    composed, folder, columns, _ = job
    (folder / name if "." in name else shard(folder, name)).unlink()
    assert scores(run(composed)) == columns and "already done" not in capsys.readouterr().out
    run(composed)
    assert "already done" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"state": "done"}', '{"state": ["done"]}', '{"state": "done", "fingerprint": "another"}']
)
def test_a_status_of_another_shape_is_damaged(job, text):
    composed, folder, *_ = job
    whole = (folder / "status.json").read_bytes()
    (folder / "status.json").write_text(text)
    cell = GridCell({}, {}, composed)
    assert cell.state == "damaged" and cell.summary == {} == cell.scores()
    (folder / "status.json").write_bytes(whole)
    assert cell.state == "done"


def test_a_job_of_an_earlier_version_is_still_done(job):
    """Its status has no digests; its files can be read."""
    import json

    composed, folder, columns, _ = job
    path = folder / "status.json"
    whole = path.read_bytes()
    old = {key: value for key, value in json.loads(whole).items() if key not in ("seal", "files")}
    path.write_text(json.dumps(old))
    assert GridCell({}, {}, composed).scores() == columns and Scores(GridCell({}, {}, composed).job).is_done()
    parquet = (folder / "scores.parquet").read_bytes()
    (folder / "scores.parquet").write_bytes(parquet[:-40])
    assert GridCell({}, {}, composed).state == "damaged"
    (folder / "scores.parquet").write_bytes(parquet)
    path.write_bytes(whole)


# --- trainings ----------------------------------------------------------------------------------------------------

NODE = {
    "_target_": "pomelo_lab.classifier.plain.PlainClassifier",
    "width": 4,
    "depth": 1,
    "hidden": 4,
    "weights": "auto",
}
DATA = {"_target_": "pomelo_lab.dataset.digits.Digits", "split": "test", "size_px": 8}
RECIPE = {
    "_target_": "pomelo_lab.training.recipe.Recipe",
    "epochs": 2,
    "min_steps": 0,
    "batch_size": 32,
    "n_train": 64,
    "n_val": 32,
}


def trained(outputs, **changes):
    return train_component(NODE, DATA, {**RECIPE, **changes}, outputs, device="cpu")


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A finished training: outputs, its weights, their bytes."""
    outputs = tmp_path_factory.mktemp("training")
    path = trained(outputs)
    return outputs, path, path.read_bytes()


@pytest.mark.parametrize("way", TRAINED)
@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_damaged_weights_are_trained_again_and_never_used(training, name, way, caplog, monkeypatch):
    outputs, path, whole = training
    # the recipe that the network names
    monkeypatch.setattr("pomelo_lab.training.recipe.own_recipe", lambda node: RECIPE)
    damaged(path.parent / name, way)
    say_once.cache_clear()
    assert resolve(NODE, DATA, outputs) is None and f"{path.parent / name} is damaged" in caplog.text
    assert trained(outputs) == path and path.read_bytes() == whole and "trained again" in caplog.text
    assert resolve(NODE, DATA, outputs) == path


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_log_is_written_again(training, way, caplog):
    outputs, path, _ = training
    log, stamp = path.parent / "log.jsonl", path.stat().st_mtime_ns
    whole = log.read_bytes()
    damaged(log, way)
    assert trained(outputs) == path and log.read_bytes() == whole and path.stat().st_mtime_ns == stamp
    assert f"{log} was damaged" in caplog.text


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a training that was stopped after its third step, with a checkpoint and a log."""
    from pomelo_lab.training.module import Training

    outputs, genuine = tmp_path_factory.mktemp("interrupted"), Training.training_step

    def step(self, *given):
        if self.global_step == 3:
            raise ZeroDivisionError("stopped")
        return genuine(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "training_step", step)
        with pytest.raises(ZeroDivisionError):
            trained(outputs, checkpoint_s=0.0)
    [last] = outputs.glob("weights/*/last.ckpt")
    assert (
        torch.load(last, weights_only=True)["global_step"] == 3
        and len((last.parent / "log.jsonl").read_text().splitlines()) == 1
    )
    return outputs


@pytest.mark.parametrize("way", [None, *TRAINED])
@pytest.mark.parametrize("name", ["last.ckpt", "log.jsonl"])
def test_an_interrupted_training_goes_on_or_begins_anew(training, interrupted, tmp_path, name, way, caplog):
    _, _, whole = training
    shutil.copytree(interrupted, tmp_path / "outputs")
    [last] = tmp_path.glob("outputs/weights/*/last.ckpt")
    if way is not None:
        damaged(last.with_name(name), way)
    path = trained(tmp_path / "outputs", checkpoint_s=0.0)
    assert path.read_bytes() == whole
    assert (f"{last.with_name(name)} is damaged" in caplog.text) == (
        way is not None and not (name == "log.jsonl" and way == "empty")
    )
    assert len((path.parent / "log.jsonl").read_text().splitlines()) == 2


def test_the_checkpoint_of_another_training_is_not_resumed(training, interrupted, tmp_path, caplog):
    outputs = tmp_path / "outputs"
    shutil.copytree(interrupted, outputs)
    [last] = tmp_path.glob("outputs/weights/*/last.ckpt")
    other = train_component(NODE, DATA, {**RECIPE, "lr": 0.01}, tmp_path / "other", device="cpu")
    shutil.copytree(other.parent, outputs / "weights" / other.parent.name)
    place = outputs / "weights" / other.parent.name
    (place / "card.json").unlink()
    shutil.copy(last, place)
    again = train_component(NODE, DATA, {**RECIPE, "lr": 0.01}, outputs, device="cpu")
    assert (
        again.parent == place
        and again.read_bytes() == other.read_bytes()
        and f"{place / 'last.ckpt'} is damaged" in caplog.text
    )
