"""An ONNX file as a classifier: the same probabilities and maps as the network that was exported."""

import pytest
import torch

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.classifier.onnx import OnnxClassifier
from pomelo_lab.conformance.tiny import tiny_job
from pomelo_lab.runtime.onnx import export
from tests.every import small_network
from tests.running import command, scores

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
FACES = ("dataset=portraits", "explainer=lime", "sampler=gray", "n_images=2")
IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """The shipped classifier of portraits in a job, and its network as a file."""
    folder = tmp_path_factory.mktemp("portraits")
    made = tiny_job(folder / "torch", *FACES)
    classifier = made.parts.classifier
    assert classifier.weights is not None
    file = folder / "portraits.onnx"
    file.write_bytes(export(classifier.network, (classifier.normalized(made.batch(0).image),)))
    scaling = [f"classifier.mean={classifier.mean}", f"classifier.std={classifier.std}"]
    return made, ["classifier=onnx", f"classifier.file={file}", *scaling]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small network as a file, and the network."""
    torch.manual_seed(0)
    network = small_network().eval()
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    path.write_bytes(export(network, (IMAGES,)))
    return str(path), network


def test_its_probabilities_and_its_lime_are_those_of_torch(portraits, tmp_path):
    made, asked = portraits
    ours = tiny_job(tmp_path, *FACES, *asked)
    assert not isinstance(ours.parts.classifier, NetworkClassifier)
    torch.testing.assert_close(ours.clean(0), made.clean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.explanation(0).attribution, made.explanation(0).attribution, atol=1e-4, rtol=0)


def test_it_runs(portraits, tmp_path):
    done = command(tmp_path, *FACES, *portraits[1], "metrics=fidelity", "scale=smoke", "tracking=none", tiny=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (tmp_path / "score").iterdir()
    assert len(scores(folder)["image_id"]) == 2


def test_the_number_of_rows_in_the_file_is_kept(file, tmp_path):
    import onnx

    path, network = file
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    ours = OnnxClassifier(file=str(tmp_path / "two.onnx"), mean=0.5, std=[0.5, 0.25, 0.125])
    right = network((IMAGES - 0.5) / torch.tensor([0.5, 0.25, 0.125])[:, None, None]).softmax(-1)
    torch.testing.assert_close(ours.probability(IMAGES), right, atol=1e-5, rtol=0)
    assert ours.num_classes == 10 and ours.input_px == [16, 16]


def test_images_are_resized_to_the_size_in_the_file(file):
    ours, images = OnnxClassifier(file=file[0], output="sigmoid"), torch.rand(2, 3, 24, 20)
    small = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(ours.probability(images), file[1](small).sigmoid(), atol=1e-5, rtol=0)


def test_the_digest_is_that_of_the_contents(file, tmp_path):
    (tmp_path / "same.onnx").write_bytes(open(file[0], "rb").read())
    base = OnnxClassifier(file=file[0]).digest()
    assert OnnxClassifier(file=str(tmp_path / "same.onnx")).digest() == base
    assert OnnxClassifier(file=file[0], mean=0.5).digest() != base


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"file": "/nowhere.onnx"}, "classifier.file: there is no file /nowhere.onnx"),
        ({"file": __file__}, "classifier.file=.*test_onnx.py cannot be read: "),
        ({"class_names": ["a"]}, "classifier.class_names must be 10 names, the outputs of classifier.file=.*, got 1"),
        ({"image_shape": [1, 16, 16]}, "small.onnx cannot take images of 1x16x16: "),
    ],
)
def test_mistakes_are_named(given, text, file):
    with pytest.raises(ValueError, match=text):
        OnnxClassifier(**{"file": file[0], **given})


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr("pomelo_lab.classifier.downloads.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs onnxruntime, which is not installed: pip install 'pomelo-lab\[onnx\]"):
        OnnxClassifier(file="x.onnx")
