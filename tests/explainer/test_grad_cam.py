import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.layers import FunctionModule
from pomelo_lab.explainer.grad_cam import GradCamExplainer
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.explainer.input_iba import InputIBAExplainer
from pomelo_lab.explainer.layers import last_spatial
from tests.explainer.gradients import TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.networks import Attention, Body, ChannelsLast, Gate, classifier
from tests.explainer.removing import TARGET, explained
from tests.tiny import TinyLinear, tiny_batch

captum = pytest.importorskip("captum.attr")


@pytest.mark.parametrize(("layer", "end"), [("1", 2), ("3", 4), (None, 5)])
def test_weighted_maps_by_hand(layer, end):
    classifier, batch = rectified(), tiny_batch(3)
    explanation, _ = explained(GradCamExplainer(layer=layer), batch, classifier=classifier)
    maps = classifier.network[:end](batch.image.double()).requires_grad_(True)
    answer = classifier.network[end:](maps).gather(1, TARGET[:, None]).sum()
    weight = torch.autograd.grad(answer, maps)[0].mean((2, 3), keepdim=True)
    expected = F.interpolate(
        (weight * maps).sum(1, keepdim=True).clamp_min(0), (8, 8), mode="bilinear", align_corners=False
    )[:, 0]
    torch.testing.assert_close(explanation.attribution, expected.detach().float(), atol=1e-5, rtol=0)


def test_captum():
    network, batch = rectified(), tiny_batch(3)
    made, _ = explained(GradCamExplainer(layer="3"), batch, classifier=network)
    maps = captum.LayerGradCam(network.network, network.network[3]).attribute(
        batch.image.double(), target=TARGET, relu_attributions=True
    )
    expected = F.interpolate(maps, (8, 8), mode="bilinear", align_corners=False)[:, 0].detach().float()
    torch.testing.assert_close(made.attribution, expected, atol=1e-6, rtol=0)


def test_the_layer_is_read_before_an_activation_changes_it_in_place():
    here, there = (
        explained(GradCamExplainer(layer="conv2"), classifier=classifier(Body(nn.ReLU6(inplace=inplace))))[0]
        for inplace in (False, True)
    )
    torch.testing.assert_close(here.attribution, there.attribution, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("network", "layer", "named"),
    [
        (Attention(), None, r"layer attention.out_proj|layer act \(GELU\) gives \[16, 8\]"),
        (Attention(), "act", r"layer act \(GELU\) gives \[16, 8\]"),
        (
            ChannelsLast(),
            None,
            r"layer mix \(Linear\) gives \[4, 4, 8\], where the last two sides are not rows and "
            r"columns",
        ),
        (Body(nn.ReLU()), "first", r"layer first \(ReLU\) is called 2 times in one forward"),
        (Body(nn.ReLU()), "head", r"layer head \(Linear\) gives \[3\]"),
        (
            Body(nn.ReLU(), gate=Gate(nn.Sigmoid())),
            "gate.up",
            r"layer gate.up \(Conv2d\) gives a single cell, \[6, 1, "
            r"1\]",
        ),
    ],
)
def test_layers_that_give_no_map_are_refused_by_every_method_that_needs_one(network, layer, named):
    made = classifier(network)
    with pytest.raises(ValueError, match=named):
        explained(GradCamExplainer(layer=layer), classifier=made)
    if layer is not None:
        box = view(made, "white_box", 64)
        for explainer in (IBAExplainer(layer=layer), InputIBAExplainer(layer=layer)):
            with pytest.raises(ValueError, match=named):
                explainer.check(box, tiny_batch(1).image)


class Resizing(TinyNetwork):
    """A classifier that resizes images first, as torchvision's with input_px."""

    side = 8

    def normalized(self, images):
        return F.interpolate(images.double(), (self.side, self.side), mode="bilinear")


@pytest.mark.parametrize(("side", "shape"), [(8, r"\[4, 4, 8\]"), (16, r"\[8, 8, 8\]")])
def test_channels_that_come_last_are_refused_behind_a_resize(side, shape):
    made = Resizing(made=ChannelsLast())
    made.side = side
    with pytest.raises(
        ValueError,
        match=rf"layer mix \(Linear\) gives {shape}, where the last two sides are not rows "
        rf"and columns",
    ):
        explained(GradCamExplainer(layer="mix"), classifier=made)


def test_maps_behind_a_resize_and_maps_of_one_size_are_maps():
    for image in (tiny_batch(3), tiny_batch(3, (3, 8, 14))):
        for layer in ("conv1", "conv2"):
            explained(GradCamExplainer(layer=layer), image, classifier=Resizing(made=Body(nn.ReLU())))
        pooled = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 3))
        explained(GradCamExplainer(layer="1"), image, classifier=TinyNetwork(made=pooled))


def test_a_patch_embedding_is_a_map_when_it_is_asked_for():
    explained(GradCamExplainer(layer="patch"), classifier=classifier(Attention()))


def test_no_layer_with_a_map_and_a_layer_that_does_not_exist():
    with pytest.raises(ValueError, match="no layer of the network gives maps"):
        explained(GradCamExplainer(), classifier=TinyLinear.random(3, (3, 8, 8)))
    with pytest.raises(ValueError, match="layer '33' does not exist.*did you mean.*3"):
        explained(GradCamExplainer(layer="33"), classifier=rectified())


def test_global_pooling_is_not_taken_for_a_map():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = TinyNetwork(made=network)
    explanation, _ = explained(GradCamExplainer(), classifier=classifier)
    named, _ = explained(GradCamExplainer(layer="0"), classifier=classifier)
    assert torch.equal(explanation.attribution, named.attribution)


def test_alone_and_in_any_batch():
    assert_each_image_alone(GradCamExplainer)


def test_a_layer_that_is_called_for_several_blocks_is_not_the_default():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()

        def forward(self, images):
            return self.relu(self.second(self.relu(self.first(images)))).mean((2, 3))

    network = Shared()
    assert last_spatial(FunctionModule(network, network), torch.rand(1, 3, 8, 8)) == "second"
