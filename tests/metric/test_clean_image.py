"""Perturbation 0, which is the image itself where a sampler keeps it, is no perturbation in any statistic of a
sampler."""

from dataclasses import replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.distance import L2, SSIM
from pomelo_lab.metric.entropy import HardEntropy, LabelDistribution, SoftEntropy
from pomelo_lab.metric.frechet import FrechetDistance
from pomelo_lab.metric.mahalanobis import Mahalanobis
from pomelo_lab.metric.silhouette import Silhouette
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, TinyLinear, batch_of, tiny_image

SHAPE = (3, 8, 8)
CLASSIFIER = TinyLinear.random(3, SHAPE)
METRICS = {
    "D_M": Mahalanobis(n_reference=300, n_per_image=20),
    "L2": L2(),
    "SSIM": SSIM(),
    "E_hard": HardEntropy(),
    "E_soft": SoftEntropy(),
    "classes": LabelDistribution(),
    "silhouette": Silhouette(space="feature", n_per_image=4),
    "Frechet": FrechetDistance(oracle=CLASSIFIER, n_reference=50, n_per_image=20),
}


def scores(metric, images, n_perturbed, keeps_first):
    """What a metric says of a sampler that puts the same noise in place of every image, and of the image itself in
    front or not."""
    noise = Perturbations.quantize(tiny_image(1, SHAPE, seed=9)).expand(len(images), 1 + n_perturbed, *SHAPE).clone()
    if keeps_first:
        noise[:, 0] = Perturbations.quantize(images)
    box, training = (
        view(CLASSIFIER, "white_box", 16),
        TinyDataset(image=tiny_image(400, SHAPE, seed=5), label=torch.arange(400) % 3),
    )
    made = Perturbations(image=noise, probability=box.probability(noise))
    target = torch.zeros(len(images), dtype=torch.long)
    case = Case(batch=batch_of(images), target=target, perturbations=made, classifier=box, streams=RandomStreams(0))
    return metric.score(replace(case, reference=metric.fit(training, box, RandomStreams(0)) if metric.fits else {}))


@pytest.mark.parametrize("name", METRICS)
def test_a_sampler_scores_the_same_whether_or_not_it_keeps_the_image(name):
    images = tiny_image(4, SHAPE)
    kept, replaced = (scores(METRICS[name], images, 20, keeps_first) for keeps_first in (True, False))
    assert kept.keys() == replaced.keys()
    assert all(torch.equal(kept[key], replaced[key]) for key in kept)


@pytest.mark.parametrize("name", METRICS)
def test_the_image_alone_is_no_perturbation(name):
    with pytest.raises(ValueError, match=r"explainer\.n_samples must be >= 2"):
        scores(METRICS[name], tiny_image(4, SHAPE), 0, True)


def test_twenty_perturbations_per_image_are_twenty_perturbed_images():
    box = view(CLASSIFIER, "white_box", 16)
    image = Perturbations.quantize(tiny_image(2 * 21, SHAPE, seed=7)).view(2, 21, *SHAPE)
    metric = METRICS["D_M"]
    training = TinyDataset(image=tiny_image(400, SHAPE, seed=5), label=torch.arange(400) % 3)
    case = Case(batch=batch_of(tiny_image(2, SHAPE)), perturbations=Perturbations(image=image), classifier=box)
    case = replace(case, reference=metric.fit(training, box, RandomStreams(0)))
    box.queries = 0
    alone = [
        metric.score(replace(case, perturbations=Perturbations(image=image[:, [0, k]])))["value"] for k in range(1, 21)
    ]
    assert box.queries == 2 * 20
    assert torch.allclose(metric.score(case)["value"], torch.stack(alone).mean(0))
