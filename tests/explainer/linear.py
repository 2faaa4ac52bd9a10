"""Linear generators and classifiers, whose directions are known by hand, for tests of explainers along directions."""

import math
from dataclasses import replace

import torch
from torch import nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gcd import GCDExplainer
from pomelo_lab.explainer.proxy import Proxy
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from tests.explainer.gradients import TinyNetwork
from tests.generator.test_diffusion_autoencoder import TINY
from tests.tiny import TinyLinear, tiny_batch

SHAPE, CODE = (3, 8, 8), 5

BASIS = 0.05 * torch.randn(CODE, math.prod(SHAPE), generator=torch.Generator().manual_seed(4))


class LinearAutoencoder(DiffusionAutoencoder):
    """G(z) = noise + W z: the code is the projection on W, the noise what is left."""

    def encoded(self, images):
        return images.flatten(1) @ torch.linalg.pinv(BASIS)

    def infer_noise(self, images, code, n_steps, fixed_point=2, published=False):
        return images - (code @ BASIS).reshape(images.shape)

    def render(self, code, noise, n_steps, published=False):
        return (noise + (code @ BASIS).reshape(noise.shape)).clamp(0, 1)


def linear(seed=5, scale=0.3):
    return TinyLinear.random(2, SHAPE, seed=seed, scale=scale, dtype=torch.float64)


def features():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return TinyNetwork(
            made=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(256, 2))
        )


GENERATOR = LinearAutoencoder(**{**TINY, "channels": 3, "code": CODE})

COMMON = {
    "generator": GENERATOR,
    "perceptual": features(),
    "layers": ["1"],
    "n_renders": 1500,
    "chunk": 256,
    "radius": 1.0,
    "n_h": 3,
    "proxy": Proxy(widths=[32], lr=1e-2),
    "n_invert": 4,
    "n_render": 4,
    "reach": 6.0,
    "n_alphas": 12,
}


def gcd(**options):
    return GCDExplainer(**{**COMMON, **options})


def images_of(n):
    """Away from 0 and 1, where clamping would bend a linear generator."""
    batch = tiny_batch(n)
    return replace(batch, image=0.3 + 0.4 * batch.image)


class Faces:
    """Twelve images as a training set."""

    shape = SHAPE

    def __len__(self):
        return 12

    def order(self):
        return torch.arange(12)

    def unmasked(self, rows):
        return images_of(12).select(rows)


def fit(explainer, classifier=None, **more):
    return explainer.fit(Faces(), view(classifier or linear(), "black_box", 64), **more)


def explained(explainer, reference, n=6, classifier=None, batch_size=64, batch=None):
    batch = images_of(n) if batch is None else batch
    box = view(classifier or linear(), "black_box", batch_size)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(Case(batch, target, box, RandomStreams(0), reference=reference)), target, box, batch


def known_direction(classifier, own):
    """Gradient of the source class's log-odds through a linear generator: W (w_own - w_other)."""
    weight = classifier.weight.float().reshape(2, -1)
    return nn.functional.normalize(BASIS @ (weight[own] - weight[1 - own]), dim=0)
