"""timm's networks as classifiers: the same probabilities as timm's own."""

import json

import pytest
import torch

from pomelo_lab.classifier.timm import TimmClassifier
from pomelo_lab.compat import ensure
from tests.every import job

ensure()
timm = pytest.importorskip("timm")
SMALL = {"model": "test_vit", "arguments": {"num_classes": 5}}  # timm's own network for tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as timm publishes one, with the names of its classes."""
    path = tmp_path_factory.mktemp("vit")
    torch.manual_seed(1)
    network = timm.create_model("test_vit", num_classes=4)
    names = {"label_names": ["a", "b", "c", "d"]}
    timm.models.save_for_hf(network, path, model_config=names, safe_serialization=True)
    return path


@pytest.mark.parametrize(
    ("name", "head", "middle"),
    [
        ("vit_tiny_patch16_224", "head", None),
        ("convnext_atto", "head.fc", "stages.1"),
        ("efficientnet_b0", "classifier", "blocks.2"),
    ],
)
def test_its_probabilities_are_those_of_timm(name, head, middle, tmp_path):
    torch.manual_seed(2)
    theirs = timm.create_model(name).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = TimmClassifier(model=name, weights=str(tmp_path / "theirs.pth"))
    config = timm.data.resolve_model_data_config(theirs)
    images = torch.rand(1, 3, 224, 224)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(
            ours.probability(images), theirs((images - mean) / std).softmax(-1), atol=1e-5, rtol=0
        )
    assert ours.input_px == [224, 224] and ours.interpolation == "bicubic" and ours.num_classes == 1000
    assert (ours.head_layer, ours.middle) == (head, middle)


def test_a_folder_has_weights_and_names(folder, tmp_path):
    ours = TimmClassifier(model=f"local-dir:{folder}")
    assert ours.class_names == ["a", "b", "c", "d"]
    weights = str(folder / "model.safetensors")
    same = TimmClassifier(model="test_vit", arguments={"num_classes": 4}, weights=weights, class_names=[*"abcd"])
    images = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(ours.logit(images), same.logit(images))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert TimmClassifier(model=f"local-dir:{moved}").digest() == ours.digest()
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "label_names": ["a", "b", "d", "c"]}))
    assert TimmClassifier(model=f"local-dir:{moved}").digest() != ours.digest()


def test_gray_pixels_of_any_size_are_explained(tmp_path):
    """The network has 160 pixels, the job's images 16: so have the maps."""
    made = job(tmp_path, "classifier=timm", "classifier.model=test_vit", "explainer=saliency", "sampler=none")
    assert made.parts.classifier.input_px == [160, 160]
    assert made.explanation(0).attribution.shape[-2:] == (16, 16)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"model": "no_such_vit"}, r"classifier.model=no_such_vit: RuntimeError: Unknown model \(no_such_vit\)"),
        ({"model": "local-dir:/nowhere"}, "classifier.model=local-dir:/nowhere: FileNotFoundError"),
        ({"pretrained": True, "weights": "x.pth"}, "classifier.pretrained=true and weights=x.pth are two sources"),
        ({"class_names": ["a"]}, "classifier.class_names must be 5 names, the outputs of classifier.model=test_vit"),
    ],
)
def test_mistakes_are_named(given, text):
    with pytest.raises(ValueError, match=text):
        TimmClassifier(**{**SMALL, **given})


@pytest.mark.parametrize(
    "given", [{"model": "vit_tiny_patch16_224", "pretrained": True}, {"model": "hf-hub:owner/network"}]
)
def test_offline_forbids_downloads(given, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))
    text = f"classifier.model={given['model']}: offline=true forbids the download that it needs"
    with pytest.raises(ValueError, match=text):
        TimmClassifier(**given, offline=True)


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr("pomelo_lab.classifier.downloads.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs timm, which is not installed: pip install 'pomelo-lab\[timm\]'"):
        TimmClassifier(**SMALL)
