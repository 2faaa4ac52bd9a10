"""What export writes, explainer=stored reads: the scores of the round trip are the same."""

import json

import numpy as np
import pytest
from PIL import Image

from pomelo_lab.export import file_name, main
from pomelo_lab.run import run
from tests.running import config, scores

PORTRAITS = ("dataset=portraits", "dataset.size_px=16", "dataset.label=Smiling")
JOBS = {
    "maps": ("explainer=random", "explainer.level=pixel", "n_images=20"),
    "counterfactuals": (*PORTRAITS, "explainer=ideal_counterfactual", "metrics=flips", "target=label"),
}


@pytest.fixture(params=JOBS)
def exported(request, tmp_path):
    """(overrides of a job, its score folder, the folder of its export)."""
    chosen, to = (*JOBS[request.param], "sampler=none"), tmp_path / "files"
    folder = run(config(tmp_path, *chosen), brief=True)
    assert main([str(folder), f"to={to}", "colors=viridis", "alpha=0.5", "clip=0.9"]) == 0
    return chosen, folder, to


def test_the_round_trip_gives_the_same_scores(exported, tmp_path):
    chosen, folder, to = exported
    given = [f"explainer.maps={to}"]
    if (to / "counterfactual").is_dir():
        given.append(f"explainer.counterfactuals={to}")
    else:
        given = [f"explainer.maps={to}/attribution"]  # its file names are image ids
    rest = [text for text in chosen if not text.startswith("explainer")]
    again = scores(run(config(tmp_path, *rest, "explainer=stored", *given), brief=True))
    before = scores(folder)
    assert again.keys() == before.keys() and again["image_id"] == before["image_id"]
    for name in set(before) - {"image_id"}:
        pairs = zip(before[name], again[name], strict=True)
        assert all((a is None and b is None) or a == pytest.approx(b, abs=1e-6, nan_ok=True) for a, b in pairs), name


def test_files_and_manifest(exported):
    _, folder, to = exported
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["schema"] == 1 and manifest["fingerprint"] == folder.name
    assert [row["image_id"] for row in manifest["images"]] == scores(folder)["image_id"]
    assert [row["target"] for row in manifest["images"]] == scores(folder)["target"]
    pictures, arrays = {"image", "heat_map", "overlay"}, {"attribution"}
    if (to / "counterfactual").is_dir():
        pictures, arrays = pictures | {"counterfactual", "difference"}, arrays | {"counterfactual"}
    assert {path.name for path in to.iterdir() if path.is_dir()} == arrays | {"pictures"}
    assert {path.name for path in (to / "pictures").iterdir()} == pictures
    for row in manifest["images"]:
        for part in pictures:
            with Image.open(to / row[f"{part}_picture"]) as picture:
                assert picture.size == (16, 16)
        assert np.load(to / row["attribution"]).shape == (16, 16)


def test_names_of_files_are_plain_and_unique():
    taken: set[str] = set()
    names = [file_name(name, taken) for name in ("cat/1.png", "cat_1.png", "../../x", "a b:c", "é")]
    assert names == ["cat_1.png", "cat_1.png~2", "_.._x", "a_b_c", "é"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nowhere"], "nowhere is no score folder"),
        ([".", "alhpa=0.5"], "alhpa is unknown, did you mean 'alpha'?"),
        ([".", "alpha=x"], "alpha must be a number from 0 to 1, got 'x'"),
        ([".", "clip=2"], "clip must be from 0 to 1, got 2"),
        ([".", "colors=virids"], "colors must be a colour map of matplotlib, got 'virids', did you mean 'viridis'?"),
        (["a", "b"], "expected one score folder, got 2"),
    ],
)
def test_wrong_words_are_named(words, text, capsys):
    assert main(words) == 2
    assert text in capsys.readouterr().err


def test_a_job_whose_weights_are_gone_trains_nothing(tmp_path, monkeypatch, capsys):
    folder = run(config(tmp_path, *JOBS["maps"], "sampler=none"), brief=True)
    monkeypatch.setattr("pomelo_lab.training.trained.has_weights", lambda *_: False)
    assert main([str(folder)]) == 2 and "weights of the job" in capsys.readouterr().err
