"""What the tests of removing explainers share."""

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.sampler.base import Filler, Filling
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch

TARGET = torch.tensor([0, 1, 2])


class ByMask(Filler):
    """Fills with one value, but claims to look at the mask; what it puts into kept pixels is wrong on purpose."""

    context = "mask"
    value: float = 0.25

    def filling(self, image, streams, image_ids, segments=None):
        return Filling(image, lambda row, keep, index: torch.where(keep[:, None] < 0.5, self.value, image[row]))

    def fill_cost(self, n):
        return Cost(evaluations=n)


def explained(explainer, batch=None, target=TARGET, classifier=None, seed=0, batch_size=64):
    """An explanation of three 8x8 images by a random linear classifier (float64, so that batch sizes leave no
    trace)."""
    batch = tiny_batch(3) if batch is None else batch
    classifier = classifier or TinyLinear.random(3, batch.image.shape[1:], scale=0.3, dtype=torch.float64)
    box = view(classifier, explainer.access, batch_size)
    explanation = explainer.explain(Case(batch, target, box, RandomStreams(seed)))
    return explanation, box


def same_alone_and_in_any_batch(make, tolerance=1e-5):
    """Each image gets what it gets alone, whatever the batch size; the same seed gives the same map."""
    batch = tiny_batch(3)
    whole, _ = explained(make(), batch)
    for size in (1, 4):
        small, _ = explained(make(), batch, batch_size=size)
        torch.testing.assert_close(small.attribution, whole.attribution, atol=tolerance, rtol=0)
    for i in range(3):
        alone, _ = explained(make(), batch.select([i]), TARGET[[i]])
        torch.testing.assert_close(alone.attribution[0], whole.attribution[i], atol=tolerance, rtol=0)
    return whole


def black():
    return ConstantFiller(value=0.0)
