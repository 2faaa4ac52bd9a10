"""Incremental forwards give the answers of whole ones, or are refused."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.runtime.base import CannotPrepare
from pomelo_lab.runtime.incremental import Incremental
from pomelo_lab.runtime.originals import Change, Originals, round_up
from pomelo_lab.runtime.spans import Spans

CLOSE = {torch.float32: 1e-5, torch.float64: 1e-12}  # difference of answers, as a share of the largest answer


def patched(size: int, side: int, n: int, seed: int = 0, wide: int | None = None) -> tuple[Tensor, Originals]:
    """Images of two originals with a square of noise: in the four corners, then anywhere."""
    draws = torch.Generator().manual_seed(seed)
    shape = size, wide or size
    original = torch.rand(2, 3, *shape, generator=draws)
    row = torch.arange(n) * 2 // n
    images = original[row]
    for number, image in enumerate(images):
        top, left = (int(torch.randint(0, length - side + 1, (1,), generator=draws)) for length in shape)
        if number < 4:
            top, left = (number // 2) * (shape[0] - side), (number % 2) * (shape[1] - side)
        image[:, top : top + side, left : left + side] = torch.rand(3, side, side, generator=draws)
    return images, Originals(original, row)


def assert_same(network: nn.Module, images: Tensor, originals: Originals) -> Incremental:
    """The answers are those of whole forwards, in a first call and with kept maps. Returns what computed them."""
    network = network.eval().requires_grad_(False)
    change = Change.find(images, originals)
    followed = Incremental(network, images, change.side)
    right = network(images)
    for _ in range(2):
        answer = followed(images, originals, change)
        assert answer.shape == right.shape
        assert float((answer - right).abs().max()) <= CLOSE[right.dtype] * float(right.abs().max())
    return followed


def with_statistics(network: nn.Module) -> nn.Module:
    """The network with normalisations that change their inputs."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    return network


@pytest.mark.parametrize(("size", "side"), [(64, 8), (65, 9), (96, 16), (112, 32)])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_networks_of_torchvision(name, size, side):
    network = with_statistics(TorchvisionClassifier(architecture=name, num_classes=7).network)
    followed = assert_same(network, *patched(size, side, 6))
    assert len(followed.region) > 3


@pytest.mark.parametrize("name", ["vgg16", "densenet121"])
def test_slower_networks_of_torchvision(name):
    network = with_statistics(TorchvisionClassifier(architecture=name, num_classes=7).network)
    assert_same(network, *patched(64, 8, 5))


@pytest.mark.parametrize(("size", "side"), [(32, 4), (64, 8), (64, 16), (63, 11), (97, 20)])
@pytest.mark.parametrize("network", [ResidualClassifier(num_classes=5), PlainClassifier(num_classes=5)], ids=str)
def test_networks_of_the_package(network, size, side):
    assert_same(with_statistics(network.network), *patched(size, side, 9))


def test_images_that_are_no_squares_and_images_without_a_change():
    images, originals = patched(48, 8, 8, wide=80)
    images[5] = originals.image[originals.row[5]]
    assert_same(ResidualClassifier(num_classes=5).network, images, originals)


def random_layer(draw: random.Random, before: int, after: int) -> nn.Module:
    """A layer of `after` channels that acts locally."""
    kernel, stride, dilation = draw.choice([1, 2, 3, 5]), draw.choice([1, 1, 2, 3]), draw.choice([1, 1, 2])
    groups = draw.choice([n for n in range(1, before + 1) if before % n == 0 and after % n == 0])
    padding = draw.choice([0, kernel // 2, kernel, (kernel, 0)])
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, kernel, stride, padding, dilation, groups, bias=draw.random() < 0.5)
    ]
    layers += draw.choice([[], [nn.BatchNorm2d(after)]]) + draw.choice([[nn.ReLU(inplace=True)], [nn.GELU()], []])
    pooling = draw.choice([[], [], [nn.MaxPool2d], [nn.AvgPool2d]])
    for kind in pooling:
        size = draw.choice([2, 3])
        ceil = {"ceil_mode": draw.random() < 0.5} if kind is nn.MaxPool2d else {}
        layers.append(kind(size, draw.choice([1, 2]), padding=draw.choice([0, 1]), **ceil))
    return nn.Sequential(*layers)


class Drawn(nn.Module):
    """A random small network with sums, products and concatenations."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.first = random_layer(draw, 3, 4)
        self.sums = nn.ModuleList(nn.Conv2d(4, 4, k, padding="same", dilation=draw.choice([1, 2])) for k in (1, 3, 4))
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.how = draw.choice(["sum", "cat", "product"])
        self.second = random_layer(draw, 8 if self.how == "cat" else 4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        one, other = self.sums[0](x) * self.scale, torch.relu(self.sums[1](x)).add(0.5)
        other = other + self.sums[2](x)
        joined = {"sum": one + other, "cat": torch.cat([one, other], 1), "product": one * other}[self.how]
        return self.head(F.relu(self.second(joined)).mean((2, 3)))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed):
    draw = random.Random(seed)
    torch.manual_seed(seed)
    network = with_statistics(Drawn(draw)).double()
    images, originals = patched(draw.choice([40, 47, 56]), draw.choice([3, 6, 8, 11]), 7, seed)
    originals = Originals(originals.image.double(), originals.row)
    assert_same(network, images.double(), originals)


class Pools(nn.Module):
    """Pools over the whole image first."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.conv = nn.Linear(3, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x * self.gate(x.mean((2, 3)))[:, :, None, None]).mean((2, 3))


class Normalizes(nn.Module):
    """Normalises by statistics of the whole image, or of the batch, in a first layer."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.conv = norm, nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x)).mean((2, 3))


class ReadsAgain(nn.Module):
    """Changes a value in place, and reads it again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        before = self.conv(x)
        return (F.relu(before, True) + before).mean((2, 3))


class Branches(nn.Module):
    """Depends on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3)) * (2 if float(x.max()) > 2 else 1)


REFUSED = [
    Pools(),
    Normalizes(nn.InstanceNorm2d(3)),
    Normalizes(nn.GroupNorm(1, 3)),
    Normalizes(nn.LayerNorm([32, 32])),
    Normalizes(nn.BatchNorm2d(3, track_running_stats=False)),
    Normalizes(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
    ReadsAgain(),
    nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)),
]


@pytest.mark.parametrize("network", REFUSED, ids=lambda network: type(network).__name__)
def test_networks_that_cannot_be_followed_are_refused(network):
    with pytest.raises(CannotPrepare):
        assert_same(network, *patched(32, 4, 6))


def test_networks_that_depend_on_values_are_refused():
    with pytest.raises(RuntimeError, match="depends on values"):
        assert_same(Branches(), *patched(32, 4, 6))


def test_layers_behind_one_that_is_not_local_are_whole():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1))
    followed = assert_same(network, *patched(32, 4, 6))
    assert [str(node) for node in followed.region] == ["input_1", "_0"]


def test_a_change_of_most_of_the_image_is_refused():
    with pytest.raises(CannotPrepare):
        assert_same(ResidualClassifier(num_classes=5).network, *patched(32, 31, 6))


def test_the_changed_square_is_found_by_its_pixels():
    images, originals = patched(40, 10, 6)
    change = Change.find(images, originals)
    assert change.side == 12 and change.number == (0, 1)
    for image, row, top, left in zip(images, originals.row, change.places.top, change.places.left, strict=True):
        restored = image.clone()
        where = slice(top, top + 12), slice(left, left + 12)
        restored[:, *where] = originals.image[row][:, *where]
        assert torch.equal(restored, originals.image[row])
        assert 0 <= top <= 28 and 0 <= left <= 28
    nothing = Change.find(originals.image[originals.row], originals)
    assert nothing.side == 8
    assert Change.find(F.pad(images, [1, 1, 1, 1]), originals) is None


def test_sides_are_rounded_up():
    assert [round_up(side, 224) for side in (1, 8, 9, 13, 17, 25, 33, 49, 200)] == [8, 8, 12, 16, 24, 32, 48, 64, 224]


def test_intervals_contain_what_they_must_and_lie_inside():
    first, last = torch.tensor([-3, 0, 2, 7]), torch.tensor([0, 4, 5, 12])
    spans = Spans.covering(first, last, 9)
    assert (spans.start >= 0).all() and (spans.last < 9).all()
    assert (spans.start <= first.clamp(0, 8)).all() and (spans.last >= last.clamp(0, 8)).all()
    assert spans.length == 5
