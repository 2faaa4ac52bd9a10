"""What users bring from outside, in whole jobs: each case that went wrong for others has its right answer here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.run import run
from tests.running import TINY, config, scores

CODE = """import torch
def answer(x): return (x[:, :2].mean((2, 3)) * 15).softmax(1)
def copies(x): return answer((x - 0.5) / 0.25)
def in_place(x): return answer(x.sub_(0.5).div_(0.25))
def clean_nan(x): return answer(x) / (x.mean((1, 2, 3), keepdim=True)[:, 0, 0] > 0.42)
def perturbed_nan(x):
    return answer(x) * (torch.where(((x - 0.5).abs() < 0.01).all(1).flatten(1).any(1), torch.nan, 1.0)[:, None])
def four(x): return x.new_full((len(x), 4), .25)
def logits(x): return torch.tensor([[0.5, 0.5], [0.5, -2.0], [3.0, 0.0], [0.5, 0.5]])[: len(x)]
def two(x): return x.new_full((len(x), 2), .5)
"""


@pytest.fixture
def folder(tmp_path):
    """A function that makes an image folder: classes of images [16,16] that differ in one colour."""

    def make(*classes: str, n: int = 2, splits: tuple[str, ...] = ("test",)):
        for split in splits:
            for number, name in enumerate(classes):
                for i in range(n):
                    pixels = np.random.default_rng(i).integers(60, 140, (16, 16, 3)).astype(np.uint8)
                    pixels[2 + 2 * i : 6 + 2 * i, 5:11, number % 3] = 230
                    path = tmp_path / "data" / split / name / f"{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
        (tmp_path / "clf.py").write_text(CODE)
        return tmp_path

    return make


def job(tmp_path, *overrides, function: str | None = None, outputs: str = "out"):
    """A checked config of a job on the folder, with a function as classifier."""
    data = ["dataset=image_folder", f"dataset.root={tmp_path / 'data'}", "dataset.size_px=16"]
    asked = ["classifier=callable", f"classifier.function={tmp_path / 'clf.py'}:{function}"] if function else []
    tiny = [
        text for text in TINY if not text.startswith("dataset") and not (function and text.startswith("classifier"))
    ]
    return config(tmp_path / outputs, *data, *asked, *overrides, base=tiny)


def test_a_function_that_works_in_place_gives_the_same_numbers(folder):
    tmp_path = folder("a", "b")
    columns = [scores(run(job(tmp_path, "n_images=4", function=name, outputs=name))) for name in ("copies", "in_place")]
    for name, column in columns[0].items():
        assert columns[1][name] == pytest.approx(column, abs=1e-6) if name != "image_id" else columns[1][name] == column


def test_answers_that_are_nan_name_the_classifier_and_the_image(folder):
    tmp_path = folder("a", "b", n=4)
    with pytest.raises(
        ValueError,
        match=r"^classifier\.function .*clf\.py:clean_nan answers inf for test/[ab]/\d\.png: expected finite prob",
    ):
        run(job(tmp_path, "metrics=none", function="clean_nan"))
    with pytest.raises(ValueError, match=r"clf\.py:perturbed_nan answers nan for a perturbation of test/[ab]/\d\.png:"):
        run(job(tmp_path, "metrics=none", function="perturbed_nan"))
    with pytest.raises(ValueError, match=r"clf\.py:logits answers -2 for test/[ab]/\d\.png: expected .* in \[0,1\]$"):
        run(job(tmp_path, "metrics=none", function="logits"))


def test_one_image_with_one_perturbation_has_no_frechet_distance(tmp_path, capsys):
    import json

    metric = {"_target_": "pomelo_lab.metric.frechet.FrechetDistance", "n_reference": 20}
    judge = {"_target_": "pomelo_lab.classifier.plain.PlainClassifier"}  # the job fills in the number of classes
    asked = config(tmp_path, "explainer=none", "n_images=1", "explainer.n_samples=2", "metrics=none")
    made = run({**asked, "metrics": {"fd": {**metric, "oracle": judge}}})
    assert json.loads((made / "summary.json").read_text())["fd"]["mean"] is None
    assert "fd: undefined for 1 image" in capsys.readouterr().err


def test_a_target_of_numbered_folders_is_a_name_or_refused(folder):
    tmp_path = folder("1", "2", "3", "10")
    for target, index in (("'1'", 0), ("10", 1)):
        made = run(job(tmp_path, f"target={target}", "n_images=2", "metrics=none", function="four"))
        assert scores(made)["target"] == [index, index]
    with pytest.raises(ValueError, match="target=1 is the name of one class and the position of another, '10'"):
        run(job(tmp_path, "target=1", "metrics=none", function="four"))


def network_job(tmp_path, *overrides):
    return job(tmp_path, "classifier=plain", "classifier.weights=null", "metrics=none", *overrides)


def test_a_network_with_one_output_is_refused_with_the_way_that_works(folder, tmp_path):
    from pomelo_lab.classifier.plain import PlainClassifier
    from pomelo_lab.config.check import ConfigError

    folder("ill", "well")
    one = PlainClassifier(num_classes=2, column=0, n_outputs=1)
    torch.save(one.network.state_dict(), tmp_path / "one.pth")
    weights, way = f"classifier.weights={tmp_path / 'one.pth'}", "classifier.column=0 classifier.n_outputs=1"
    with pytest.raises(ValueError, match=f"does not fit .*{way}"):
        run(network_job(tmp_path, weights))
    with pytest.raises(ConfigError, match=f"classifier.num_classes must be at least 2: .*{way}, got 1"):
        network_job(tmp_path, weights, "classifier.num_classes=1")
    with pytest.raises(ValueError, match="target=label takes the data set's 2 classes for the classifier's 1 outputs"):
        run(network_job(tmp_path, weights, "classifier.num_classes=1", "classifier.output=sigmoid", "target=label"))
    assert run(network_job(tmp_path, weights, "classifier.column=0", "classifier.n_outputs=1")).exists()


def test_one_class_is_none_for_a_softmax(folder):
    with pytest.raises(ValueError, match="classifier.num_classes must be at least 2"):
        run(network_job(folder("a")))


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_image_too_small_for_its_network_is_named_before_the_job_and_in_its_plan(folder, dry_run):
    tmp_path = folder("a", "b")
    asked = job(tmp_path, "classifier=vgg16", "classifier.weights=null", "metrics=none", f"dry_run={dry_run}")
    with pytest.raises(
        ValueError, match="dataset.size_px: the classifier vgg16 cannot take images of 3x16x16: .*too small"
    ):
        run(asked)
    assert not (tmp_path / "out" / "score").exists() or dry_run is False
