"""torchvision's architectures behind our interface."""

import re

import pytest
import torch
from torch import nn

from pomelo_lab.classifier.torchvision import TorchvisionClassifier, build_network
from pomelo_lab.config.signature import node_problems

NODE = {"_target_": "pomelo_lab.classifier.torchvision.TorchvisionClassifier"}


@pytest.mark.parametrize(("name", "width"), [("resnet18", 512), ("mobilenet_v3_small", 1024)])
def test_head_is_replaced_and_feature_is_its_input(name, width):
    classifier = TorchvisionClassifier(architecture=name, num_classes=5)
    x = torch.rand(2, 3, 64, 64)
    assert classifier.head.out_features == 5
    assert classifier.feature(x).shape == (2, width)
    torch.testing.assert_close(classifier.head(classifier.feature(x)), classifier.logit(x))


def test_a_convolution_is_the_head_where_there_is_no_linear_layer():
    classifier = TorchvisionClassifier(architecture="squeezenet1_1", num_classes=4)
    assert isinstance(classifier.head, nn.Conv2d) and classifier.logit(torch.rand(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_numbers_are_torchvisions(tmp_path, name):
    from torchvision.models import get_model

    theirs = get_model(name, weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = TorchvisionClassifier(architecture=name, num_classes=1000, weights=str(tmp_path / "theirs.pth"))
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = theirs((x - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(ours.logit(x), expected, atol=1e-4, rtol=1e-4)
    assert not any(getattr(m, "inplace", False) for m in ours.network.modules())


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_numbers_of_inception_are_torchvisions_whose_files_are_scaled_another_way(name):
    """torchvision's networks with transform_input=True, as their files are built, on images normalised for ImageNet."""
    from torchvision.models import get_model

    ours = TorchvisionClassifier(architecture=name, num_classes=1000)
    theirs = get_model(name, weights=None, aux_logits=False, init_weights=False, transform_input=True).eval()
    theirs.load_state_dict(ours.network.state_dict())
    side = {"inception_v3": 299}.get(name, 64)
    x = torch.rand(1, 3, side, side)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = theirs((x - mean[:, None, None]) / std[:, None, None])
    wrong_scaling = TorchvisionClassifier(architecture=name, num_classes=1000, normalization="imagenet")
    with torch.no_grad():
        error, wrong_error = (
            float((classifier.logit(x) - expected).abs().max() / expected.abs().max())
            for classifier in (ours, wrong_scaling)
        )
    assert error < 1e-4 and ours.normalization == "half"
    assert wrong_error > 1e-2 or name == "googlenet"  # whose initial weights answer all images alike
    # Inception refuses less than 75 pixels: it is resized
    assert ours.logit(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_densenet264_is_made_of_torchvisions_class():
    """Four blocks of 6, 12, 64 and 48 layers (Huang et al. 2017, table 1): 33.3 million weights with 1,000 outputs;
    built without its values."""
    with torch.device("meta"):
        network = build_network("densenet264")
    blocks = [
        sum(name.startswith("denselayer") for name, _ in block.named_children())
        for name, block in network.features.named_children()
        if name.startswith("denseblock")
    ]
    assert blocks == [6, 12, 64, 48] and sum(p.numel() for p in network.parameters()) == 33337704
    assert node_problems({**NODE, "architecture": "densenet264"}, "classifier") == []


def test_small_stem_keeps_the_resolution():
    network = TorchvisionClassifier(num_classes=2, stem="small").network
    assert network.conv1.stride == (1, 1) and isinstance(network.maxpool, nn.Identity)


def test_mistakes_are_found_in_the_config():
    assert "did you mean 'resnet18'" in node_problems({**NODE, "architecture": "resnet81"}, "classifier")[0]
    assert node_problems({**NODE, "architecture": "vgg16", "stem": "small"}, "classifier") == [
        "classifier.stem=small is for ResNets only, got architecture=vgg16"
    ]
    with pytest.raises(ValueError, match="classifier.architecture 'resnet81' is unknown"):
        TorchvisionClassifier(architecture="resnet81", num_classes=2)


@pytest.mark.parametrize(
    ("normalization", "mean", "std"), [("half", [0.5] * 3, [0.5] * 3), ("none", [0.0] * 3, [1.0] * 3)]
)
def test_densenet_by_a_weights_file_with_another_scaling(tmp_path, normalization, mean, std):
    from torchvision.models import get_model

    theirs = get_model("densenet121", weights=None, num_classes=40).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    given = {"architecture": "densenet121", "weights": str(tmp_path / "theirs.pth"), "normalization": normalization}
    ours, x = TorchvisionClassifier(column=31, n_outputs=40, **given), torch.rand(2, 3, 64, 64)
    expected = theirs((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[:, 31].sigmoid()
    torch.testing.assert_close(ours.probability(x)[:, 1], expected, atol=1e-5, rtol=1e-4)
    assert ours.head.out_features == 40 and ours.feature(x).shape == (2, 1024)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of torch's downloads, without a network."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("an address was looked up"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_torchvisions_weights_are_used_by_their_name(cache):
    from torchvision.models import ResNet18_Weights, get_model

    theirs = get_model("resnet18").eval()
    torch.save(theirs.state_dict(), cache / ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2])
    given = {"architecture": "resnet18", "weights": "IMAGENET1K_V1"}
    ours = TorchvisionClassifier(**given, num_classes=1000, offline=True)  # it lies in the cache
    assert torch.equal(ours.network.fc.weight, theirs.fc.weight)
    with pytest.raises(ValueError, match="weights=IMAGENET1K_V1 has the 1000 classes of ImageNet: say classifier.num_"):
        TorchvisionClassifier(**given, num_classes=10)
    with pytest.raises(ValueError, match="no IMAGENET1K_V2 of resnet18, did you mean 'IMAGENET1K_V1'"):
        TorchvisionClassifier(**{**given, "weights": "IMAGENET1K_V2"}, num_classes=1000)


def test_offline_forbids_the_download_of_weights(cache):
    text = "classifier.weights=IMAGENET1K_V2: offline=true forbids the download that it needs"
    with pytest.raises(ValueError, match=text):
        TorchvisionClassifier(architecture="resnet50", weights="IMAGENET1K_V2", num_classes=1000, offline=True)


def test_old_names_of_densenet_are_read(tmp_path):
    theirs = build_network("densenet121")
    names = {name: re.sub(r"\.(norm|conv)([12])\.", r".\1.\2.", name) for name in theirs.state_dict()}
    torch.save({names[name]: tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "old.pth")
    ours = TorchvisionClassifier(architecture="densenet121", num_classes=1000, weights=str(tmp_path / "old.pth"))
    assert torch.equal(ours.network.classifier.weight, theirs.classifier.weight)


@pytest.mark.parametrize("normalization", ["imagenet", "half", "none"])
def test_a_gray_image_is_repeated_to_three_channels(normalization):
    classifier, gray = TorchvisionClassifier(num_classes=2, normalization=normalization), torch.rand(2, 1, 64, 64)
    assert torch.equal(classifier.logit(gray), classifier.logit(gray.expand(-1, 3, -1, -1)))
