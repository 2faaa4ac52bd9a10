"""What the tests of gradient explainers share: a small rectified network, and the contract that all of them keep."""

from dataclasses import dataclass

import torch
from torch import nn

from pomelo_lab.classifier.base import NetworkClassifier
from tests.explainer.removing import TARGET, explained
from tests.tiny import tiny_batch


@dataclass(kw_only=True, eq=False)
class TinyNetwork(NetworkClassifier):
    """A classifier around any torch network, float64."""

    made: nn.Module
    num_classes: int = 3
    middle = "0"

    def __post_init__(self):
        super().__post_init__()
        self.network = self.made.double().eval().requires_grad_(False)

    @property
    def head(self):
        return self.network[-1]

    def normalized(self, images):
        return images.double()

    def digest(self):
        return "tiny-network"


def rectified(seed=0):
    """Convolution, ReLU, pooling, ReLU, linear: 3x8x8 -> 3."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 3),
        ]
        return TinyNetwork(made=nn.Sequential(*layers))


class Functional(nn.Module):
    """A network that rectifies without modules."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 3)

    def forward(self, x):
        return torch.nn.functional.relu(self.linear(x.flatten(1)))


class Reused(nn.Module):
    """A network that uses one ReLU twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(192, 8), nn.Linear(8, 3), nn.ReLU()

    def forward(self, x):
        return self.act(self.second(self.act(self.first(x.flatten(1)))))


def assert_each_image_alone(make, tolerance=1e-5, **more):
    """Every image gets the map that it gets alone, whatever the batch size, under the same seed."""
    batch, classifier = tiny_batch(3), rectified()
    whole, _ = explained(make(), batch, classifier=classifier, **more)
    assert (
        whole.attribution.shape == (3, 8, 8)
        and whole.attribution.isfinite().all()
        and float(whole.attribution.abs().max()) > 0
    )
    for size in (1, 5):
        small, _ = explained(make(), batch, classifier=classifier, batch_size=size, **more)
        torch.testing.assert_close(small.attribution, whole.attribution, atol=tolerance, rtol=0)
    for i in range(3):
        alone, _ = explained(make(), batch.select([i]), TARGET[[i]], classifier=classifier, **more)
        torch.testing.assert_close(alone.attribution[0], whole.attribution[i], atol=tolerance, rtol=0)
    return whole
