"""Image classifiers of Hugging Face: the same probabilities as transformers' own."""

import numpy as np
import pytest
import torch

from pomelo_lab.classifier.huggingface import HuggingFaceClassifier
from pomelo_lab.compat import ensure
from tests.every import SIZES, job, make_folder

ensure()
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module", params=SIZES)
def folder(request, tmp_path_factory):
    """A folder as save_pretrained writes it: a small random network and its image processor."""
    return make_folder(tmp_path_factory.mktemp(request.param), request.param)


def test_its_probabilities_are_those_of_transformers(folder):
    ours = HuggingFaceClassifier(model=str(folder))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        right = network(**processor(images=list(pixels), return_tensors="pt")).logits.softmax(-1)
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(ours.probability(images), right, atol=1e-5, rtol=0)
        assert right.std(0).max() > 1e-3  # it does not answer all images alike
    assert ours.class_names == ["cat", "dog", "bird"] and ours.num_classes == 3
    assert ours.input_px == [32, 32] and ours.head_layer == "classifier"
    torch.testing.assert_close(ours.head(ours.feature(images)), ours.logit(images))


def test_gradients_arrive_at_the_pixels_of_images_of_another_size(folder):
    ours = HuggingFaceClassifier(model=str(folder))
    images = torch.rand(1, 3, 24, 20).requires_grad_()
    (gradient,) = torch.autograd.grad(ours.logit(images)[0, 0], images)
    assert gradient.shape == images.shape and float(gradient.abs().max()) > 0


def test_the_digest_is_that_of_contents(tmp_path):
    folders = [make_folder(tmp_path / name, "ViT") for name in ("one", "two")]
    other = make_folder(tmp_path / "three", "ViT", {0: "dog", 1: "cat", 2: "bird"})
    (folders[1] / "README.md").write_text("A page.")
    one, two, three = (HuggingFaceClassifier(model=str(folder)).digest() for folder in (*folders, other))
    assert one == two != three
    unnamed = HuggingFaceClassifier(model=str(make_folder(tmp_path / "four", "ViT", {0: "LABEL_0", 1: "LABEL_1"})))
    assert unnamed.class_names is None


def test_weights_may_lie_elsewhere(tmp_path):
    folder = make_folder(tmp_path / "vit", "ViT")
    own = HuggingFaceClassifier(model=str(folder))
    moved = (folder / "model.safetensors").rename(tmp_path / "weights.safetensors")
    assert HuggingFaceClassifier(model=str(folder), weights=str(moved)).digest() == own.digest()


def test_a_network_without_a_head_is_refused(tmp_path):
    folder = make_folder(tmp_path / "vit", "ViT")
    network = transformers.AutoModelForImageClassification.from_pretrained(folder)
    network.vit.save_pretrained(folder)
    text = "ViTForImageClassification; missing: classifier.bias, classifier.weight$"
    with pytest.raises(ValueError, match=f"classifier.model={folder} does not fit {text}"):
        HuggingFaceClassifier(model=str(folder))
    torch.save(network.vit.state_dict(), tmp_path / "base.pth")
    with pytest.raises(ValueError, match=r"classifier.weights: .*base.pth does not fit .*missing: classifier.bias"):
        HuggingFaceClassifier(model=str(folder), weights=str(tmp_path / "base.pth"))


def test_a_job_explains_it_in_the_pixels_of_its_images(tmp_path):
    folder = make_folder(tmp_path / "vit", "ViT", {k: str(k) for k in range(10)})
    asked = ["classifier=huggingface", f"classifier.model={folder}", "target='7'", "explainer=saliency", "sampler=none"]
    made = job(tmp_path, *asked)
    assert made.explanation(0).attribution.shape[-2:] == (16, 16)
    assert made.target(0).unique().tolist() == [7]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"model": "/nowhere/at/all", "offline": True}, "classifier.model=/nowhere/at/all: "),
        ({"class_names": ["a"]}, "classifier.class_names must be 3 names"),
        ({"weights": "/nowhere.pth"}, "classifier.weights: there is no file /nowhere.pth"),
    ],
)
def test_mistakes_are_named(given, text, tmp_path):
    folder = make_folder(tmp_path / "vit", "ViT")
    with pytest.raises(ValueError, match=text):
        HuggingFaceClassifier(**{"model": str(folder), **given})


def test_offline_forbids_downloads(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))
    text = "classifier.model=no-such-owner/no-such-network: offline=true forbids the download that it needs"
    with pytest.raises(ValueError, match=text):
        HuggingFaceClassifier(model="no-such-owner/no-such-network", offline=True)


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr("pomelo_lab.classifier.downloads.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs transformers, which is not installed: pip install 'pomelo-lab\[hugg"):
        HuggingFaceClassifier(model="x")
