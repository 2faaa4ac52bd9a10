"""A user's function as a classifier."""

import sys

import numpy as np
import pytest
import torch

from pomelo_lab.classifier.callable import CallableClassifier

HERE = "tests.classifier.test_callable"
IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def brightness(images):
    p = images.mean((1, 2, 3))
    return torch.stack([p, 1 - p], 1)


def brightness_numpy(images):
    assert isinstance(images, np.ndarray) and images.shape == (2, 4, 4, 3)
    p = images.mean((1, 2, 3)) / (255 if images.dtype == np.uint8 else 1)
    return np.stack([p, 1 - p], 1)


def one_column(images):
    return images.mean((1, 2, 3))[:, None]


def scores(images):
    return torch.full((len(images), 2), 0.75)


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("brightness", "tensor", 1e-6),
        ("brightness_numpy", "numpy", 1e-6),
        ("brightness_numpy", "numpy_uint8", 0.5 / 255),
    ],
)
def test_every_input_kind_gives_the_same_answer(name, kind, tolerance):
    classifier = CallableClassifier(function=f"{HERE}:{name}", num_classes=2, images=kind)
    answer = classifier.probability(IMAGES)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, brightness(IMAGES), atol=tolerance, rtol=0)


def test_a_file_works_as_well_and_its_code_is_in_the_digest(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f(images):\n    return [[0.25, 0.75]] * len(images)\n")
    classifier = CallableClassifier(function=f"{file}:f", num_classes=2)
    assert classifier.probability(IMAGES).tolist() == [[0.25, 0.75]] * 2
    before = classifier.digest()
    file.write_text("def f(images):\n    return [[0.5, 0.5]] * len(images)\n")
    assert CallableClassifier(function=f"{file}:f", num_classes=2).digest() != before


def test_a_file_finds_the_modules_beside_it_and_their_code_is_in_the_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    helper, file = tmp_path / "helper_of_a_test.py", tmp_path / "mine.py"
    file.write_text("from helper_of_a_test import answer\ndef f(images):\n    return [answer] * len(images)\n")
    helper.write_text("answer = [0.25, 0.75]\n")
    classifier = CallableClassifier(function=f"{file}:f", num_classes=2)
    assert classifier.probability(IMAGES).tolist() == [[0.25, 0.75]] * 2
    before = classifier.digest()
    helper.write_text("answer = [0.5, 0.5]\n")
    assert CallableClassifier(function=f"{file}:f", num_classes=2).digest() != before


def test_digest_follows_the_version():
    a, b = (CallableClassifier(function=f"{HERE}:brightness", num_classes=2, version=v).digest() for v in "12")
    assert a != b


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("nosuchpackage.m:f", "cannot import nosuchpackage"),
        (f"{HERE}:brightnes", "did you mean 'brightness'"),
        (f"{HERE}:HERE", "is a str, not a function"),
        ("/nowhere/x.py:f", "there is no file /nowhere/x.py"),
        ("brightness", "must be package.module:function"),
    ],
)
def test_what_cannot_be_found_is_named(path, text):
    with pytest.raises(ValueError, match=text):
        CallableClassifier(function=path, num_classes=2)


def test_wrong_shape_says_what_was_expected():
    with pytest.raises(ValueError, match=r"must answer \[2, 2\] for 2 images and 2 classes, got \[2, 1\]"):
        CallableClassifier(function=f"{HERE}:one_column", num_classes=2).probability(IMAGES)


def test_rows_that_do_not_sum_to_one_warn_once(recwarn):
    classifier = CallableClassifier(function=f"{HERE}:scores", num_classes=2)
    classifier.probability(IMAGES)
    classifier.probability(IMAGES)
    assert ["rows sum to 1 within 0.5" in str(w.message) for w in recwarn] == [True]
