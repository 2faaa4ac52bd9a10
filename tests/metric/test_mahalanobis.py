from dataclasses import replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.mahalanobis import Mahalanobis, fit_gaussians, squared_distance
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, TinyLinear, batch_of, tiny_image


def test_mean_distance_of_standard_normal_features_is_their_dimension():
    drawn = torch.randn(40_000, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fitted = fit_gaussians(drawn, torch.zeros(len(drawn), dtype=torch.long))
    fresh = torch.randn(40_000, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert squared_distance(fresh, **fitted).mean().item() == pytest.approx(16, abs=0.15)
    # on the fitted data itself the mean is the dimension exactly
    assert squared_distance(drawn, **fitted).mean().item() == pytest.approx(16, abs=1e-9)


@pytest.mark.parametrize("tied", [True, False])
def test_nearest_class_against_a_plain_loop(tied):
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(300) % 3
    feature = torch.randn(300, 5, generator=generator, dtype=torch.float64) * (1 + label[:, None]) + 3 * label[:, None]
    fitted = fit_gaussians(feature, label, tied)
    distances = squared_distance(feature[:7], **fitted)
    means = [feature[label == k].mean(0) for k in range(3)]
    own = [torch.cov(feature[label == k].T, correction=0) for k in range(3)]
    pooled = sum(own) / 3
    for i in range(7):
        for k in range(3):
            d = feature[i] - means[k]
            assert distances[i, k].item() == pytest.approx(
                (d @ torch.linalg.inv(pooled if tied else own[k]) @ d).item(), rel=1e-10
            )


def test_dead_features_are_ignored_and_unlabelled_images_left_out():
    feature = torch.randn(200, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    label = torch.zeros(200, dtype=torch.long)
    dead = torch.cat([feature, torch.zeros(200, 2, dtype=torch.float64)], 1)
    expected = squared_distance(feature, **fit_gaussians(feature, label))
    assert torch.allclose(squared_distance(dead, **fit_gaussians(dead, label)), expected, atol=1e-9)
    label[150:] = -1
    feature[150:] = 1e6
    assert squared_distance(feature[:150], **fit_gaussians(feature, label)).mean().item() == pytest.approx(4, abs=1e-9)
    with pytest.raises(ValueError, match="label"):
        fit_gaussians(feature, torch.full((200,), -1))


def case_of(n=6, n_perturbations=30, batch_size=16):
    classifier = TinyLinear.random(3, (3, 8, 8))
    training = TinyDataset(image=tiny_image(600, seed=5), label=torch.arange(600) % 3)
    box = view(classifier, "white_box", batch_size)
    image = (tiny_image(n * n_perturbations, seed=6) * 255).to(torch.uint8).view(n, n_perturbations, 3, 8, 8)
    return training, box, Case(batch=batch_of(tiny_image(n)), perturbations=Perturbations(image=image), classifier=box)


def test_score_is_the_mean_of_the_first_perturbations_whatever_the_batch_size():
    values = []
    for batch_size in (1, 7, 64):
        training, box, case = case_of(batch_size=batch_size)
        metric = Mahalanobis(n_reference=500, n_per_image=20)
        reference = metric.fit(training, box, RandomStreams(0))
        box.queries = 0
        values.append(metric.score(Case(**{**vars(case), "reference": reference}))["value"])
        assert box.queries == 6 * metric.cost((3, 8, 8), 30).queries == 120
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])
    chosen = training.order()[:500]
    fitted = fit_gaussians(training.image[chosen].flatten(1), training.label[chosen])
    pixels = case.perturbations.image[2, 1:21].flatten(1).double() / 255
    assert values[0][2].item() == pytest.approx(squared_distance(pixels, **fitted).amin(1).mean().item(), rel=1e-5)


def test_a_black_box_is_scored_in_the_features_of_another_network():
    training, box, case = case_of()
    embedder = TinyLinear.random(3, (3, 8, 8))
    black_box = view(TinyLinear.random(3, (3, 8, 8), seed=4), "black_box", 16)
    whole = []
    for metric, asked in (
        (Mahalanobis(n_reference=300), box),
        (Mahalanobis(n_reference=300, embedder=embedder), black_box),
    ):
        reference = metric.fit(training, asked, RandomStreams(0))
        whole.append(metric.score(replace(case, classifier=asked, reference=reference))["value"])
    assert torch.equal(*whole)  # the features of the tiny network are the pixels, whatever its weights
    assert black_box.queries == 0 and Mahalanobis(embedder=embedder).cost((3, 8, 8), 30).queries == 0
    assert "white_box" in Mahalanobis().needs and "white_box" not in Mahalanobis(embedder=embedder).needs


def test_shrinkage_one_is_a_scaled_euclidean_distance():
    feature = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * torch.tensor(
        [1.0, 2.0, 3.0]
    )
    fitted = fit_gaussians(feature, torch.zeros(100, dtype=torch.long), shrinkage=1.0)
    expected = (feature - feature.mean(0)).square().sum(1) / feature.var(0, correction=0).mean()
    assert torch.allclose(squared_distance(feature, **fitted)[:, 0], expected)
    with pytest.raises(ValueError, match="shrinkage"):
        Mahalanobis(shrinkage=1.5)
