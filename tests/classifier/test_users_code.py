"""Errors inside a user's function name the function, the file and the line."""

import numpy as np
import pytest
import torch

from pomelo_lab.classifier.callable import CallableClassifier
from pomelo_lab.classifier.users_code import ask
from pomelo_lab.sampler.callable import CallableSampler

IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
CODE = """import numpy as np, torch
def shape(x): a = np.zeros((len(x), 3)); a[:] = x.mean((2, 3)).numpy()[:, :2]; return a
def file(x): return torch.load('model.pth', weights_only=True)(x)
def other(x): return x['image']
def library(x):
    return torch.stack([x, x[:1]])
def fill(images, holes):
    return [][0]
"""


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("shape", "ValueError", 2),
        ("file", "FileNotFoundError", 3),
        ("other", "IndexError", 4),
        ("library", "RuntimeError", 6),
    ],
)
def test_an_error_keeps_its_place(tmp_path, name, kind, line):
    file = tmp_path / "clf.py"
    file.write_text(CODE)
    with pytest.raises(
        ValueError,
        match=rf"classifier\.function .*clf\.py:{name} raised {kind}: .*\(.*clf\.py, line "
        rf"{line}, in {name}\)$",
    ):
        CallableClassifier(function=f"{file}:{name}", num_classes=2).probability(IMAGES)


def test_so_does_one_of_an_in_painter(tmp_path):
    (tmp_path / "fill.py").write_text(CODE)
    with pytest.raises(ValueError, match=r"sampler\.function .* raised IndexError: .*fill\.py, line 8, in fill"):
        CallableSampler(function=f"{tmp_path / 'fill.py'}:fill").call_function(IMAGES, torch.ones(2, 4, 4))


def test_a_file_that_fails_when_it_is_loaded_is_named_with_its_line(tmp_path):
    (tmp_path / "clf.py").write_text("import torch\nmodel = torch.load('gone.pth', weights_only=True)\n")
    with pytest.raises(ValueError, match=r"failed when it was loaded: FileNotFoundError: .*clf\.py, line 2"):
        CallableClassifier(function=f"{tmp_path / 'clf.py'}:predict", num_classes=2)


def test_memory_that_ran_out_is_left_to_the_batching():
    def full(images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        ask(full, "f", IMAGES)


@pytest.mark.parametrize("kind", ["tensor", "numpy", "numpy_uint8"])
def test_a_function_may_change_what_it_is_given(tmp_path, kind):
    (tmp_path / "clf.py").write_text("def predict(x):\n    x *= 0\n    return [[0.5, 0.5]] * len(x)\n")
    gray = IMAGES[:, :1].clone()  # one channel: the array would share its memory
    before = gray.clone()
    CallableClassifier(function=f"{tmp_path / 'clf.py'}:predict", num_classes=2, images=kind).probability(gray)
    assert torch.equal(gray, before)


TRAINING = """import torch
from torch import nn
torch.manual_seed(0)
batch_norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(48), nn.Linear(48, 2), nn.Softmax(1))
dropout = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(48, 2), nn.Softmax(1))
def norm(x): return batch_norm(x)
def drop(x): return dropout(x)
def right(x): return dropout.eval()(x)
"""


@pytest.mark.parametrize(
    ("name", "warned"), [("norm", True), ("drop", True), ("right", False), ("dropout", False), ("batch_norm", False)]
)
def test_a_network_in_training_mode_is_said_once_and_a_module_is_put_into_evaluation_mode(
    tmp_path, caplog, name, warned
):
    (tmp_path / "clf.py").write_text(TRAINING)
    classifier = CallableClassifier(function=f"{tmp_path / 'clf.py'}:{name}", num_classes=2)
    classifier.probability(IMAGES)
    classifier.probability(IMAGES)
    assert caplog.text.count("model.eval()") == int(warned)


def test_it_is_asked_without_gradients_and_the_first_question_costs_8_images_more_at_most(tmp_path):
    body = "    asked.append(len(x)); assert not torch.is_grad_enabled()\n    return x.new_full((len(x), 2), .5)\n"
    (tmp_path / "clf.py").write_text(f"import torch\nasked = []\ndef predict(x):\n{body}")
    classifier = CallableClassifier(function=f"{tmp_path / 'clf.py'}:predict", num_classes=2)
    for _ in range(2):
        classifier.probability(torch.rand(20, 3, 4, 4))
    assert classifier._call.__globals__["asked"] == [20, 8, 20]
    assert np.isfinite(classifier.probability(IMAGES)).all()


NETWORK = """
import json, pathlib, tempfile
import torch
SHARE = json.load(open(pathlib.Path(__file__).with_name("share.json")))
def predict(images):
    torch.set_default_dtype(torch.float64)
    tempfile.NamedTemporaryFile().close()
    torch.load(pathlib.Path(__file__).with_name("weights.pt"), weights_only=True)
    return torch.tensor([[SHARE, 1 - SHARE]], dtype=torch.float32).repeat(len(images), 1)
"""


def test_files_that_a_function_reads_are_named_once(tmp_path, caplog):
    """Retrained weights in a file beside it were "already done", without a word."""
    (tmp_path / "share.json").write_text("0.25")
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.pt")
    (tmp_path / "net.py").write_text(NETWORK)
    made = CallableClassifier(function=f"{tmp_path / 'net.py'}:predict", num_classes=2)
    for _ in range(2):
        made.probability(torch.rand(2, 3, 4, 4))
    told = [r.getMessage() for r in caplog.records if "stored results do not notice" in r.getMessage()]
    assert len(told) == 2 and str(tmp_path / "share.json") in told[0] and str(tmp_path / "weights.pt") in told[1]
    assert "net.py:predict reads" in told[0] and not any(
        word in told[0] for word in ("site-packages", ".pyc", "net.py,")
    )


def test_torch_s_default_type_is_ours(tmp_path):
    """A function that set it to float64 changed the random orders of a game: the same answers, other scores."""
    (tmp_path / "share.json").write_text("0.25")
    torch.save({}, tmp_path / "weights.pt")
    (tmp_path / "net.py").write_text(NETWORK)
    CallableClassifier(function=f"{tmp_path / 'net.py'}:predict", num_classes=2).probability(torch.rand(2, 3, 4, 4))
    assert torch.get_default_dtype() == torch.float32
