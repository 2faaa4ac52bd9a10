import math

import pytest
import torch
from sklearn.metrics import silhouette_score

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.silhouette import Silhouette
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, TinyLinear, batch_of, tiny_image


def clouds(shift, n=120, dim=6):
    generator = torch.Generator().manual_seed(0)
    return (
        {"feature": torch.randn(n // 2, 2, dim, generator=generator) + shift},
        {"feature": torch.randn(n, dim, generator=generator)},
    )


def test_feature_space_equals_sklearn():
    rows, reference = clouds(0.7)
    points = torch.cat([rows["feature"].flatten(0, 1), reference["feature"]]).numpy()
    summary = Silhouette(space="feature").summarize(rows, reference)
    assert summary.mean == pytest.approx(silhouette_score(points, [0] * 120 + [1] * 120), abs=1e-6)
    assert (summary.std, summary.n, summary.n_nan) == (None, 60, 0)


def test_separated_sets_score_high_and_equal_sets_score_zero():
    assert Silhouette(space="feature").summarize(*clouds(50.0)).mean > 0.9
    assert abs(Silhouette(space="feature").summarize(*clouds(0.0)).mean) < 0.02


def test_few_or_broken_points():
    rows, reference = clouds(0.0)
    assert math.isnan(Silhouette(space="feature").summarize({"feature": rows["feature"][:1, :1]}, reference).mean)
    assert not math.isnan(Silhouette(space="feature").summarize({"feature": rows["feature"][:1]}, reference).mean)
    broken = rows["feature"].clone()
    broken[3, 0, 0] = math.nan
    summary = Silhouette(space="feature").summarize({"feature": broken}, reference)
    assert (summary.n, summary.n_nan) == (59, 1) and math.isfinite(summary.mean)


def test_the_score_is_the_mean_over_embeddings():
    rows, reference = clouds(0.3)
    alone = [
        Silhouette(space="feature", n_points=50, embedding_seed=k, n_embeddings=1).summarize(rows, reference).mean
        for k in range(3)
    ]
    summary = Silhouette(space="feature", n_points=50, n_embeddings=3).summarize(rows, reference)
    assert len(set(alone)) == 3 and summary.repeats == tuple(alone)
    assert summary.mean == pytest.approx(sum(alone) / 3, abs=1e-12)


def test_points_are_as_many_of_each_kind_and_the_same_every_time():
    rows, reference = clouds(0.0)
    metric = Silhouette(n_points=50, space="feature")
    first, again = metric.embedding(rows, reference), metric.embedding(rows, reference)
    assert first[0].shape == first[1].shape == (50, 6)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    fewer = metric.embedding({"feature": rows["feature"][:5]}, reference)
    assert fewer[0].shape == fewer[1].shape == (10, 6)


def test_score_gathers_features_of_perturbations_chosen_by_image():
    box = view(TinyLinear.random(2, (3, 4, 4)), "white_box", 7)
    image = (tiny_image(5 * 12, (3, 4, 4)) * 255).to(torch.uint8).view(5, 12, 3, 4, 4)
    case = Case(
        batch=batch_of(tiny_image(5, (3, 4, 4))),
        perturbations=Perturbations(image=image),
        classifier=box,
        streams=RandomStreams(3),
    )
    metric = Silhouette(n_per_image=4)
    feature = metric.score(case)["feature"]
    assert feature.shape == (5, 4, 48) and "value" not in metric.score(case)
    one = {name: getattr(case, name).select([3]) for name in ("batch", "perturbations")}
    alone = metric.score(Case(**one, classifier=box, streams=RandomStreams(3)))
    assert torch.equal(alone["feature"][0], feature[3])
    pixels = image[3].flatten(1).float() / 255
    assert all((pixels == row).all(1).any() for row in feature[3])
    training = TinyDataset(image=tiny_image(40, (3, 4, 4)), label=torch.zeros(40, dtype=torch.long))
    assert metric.fit(training, box, RandomStreams(0))["feature"].shape == (40, 48)


@pytest.mark.slow
def test_umap_space():
    rows, reference = clouds(20.0)
    metric = Silhouette(n_embeddings=1)
    summary = metric.summarize(rows, reference)
    perturbed, training = metric.embedding(rows, reference)
    assert perturbed.shape == training.shape == (120, 2)
    points = torch.cat([perturbed, training]).numpy()
    assert (
        summary.mean == pytest.approx(silhouette_score(points, [0] * 120 + [1] * 120), abs=1e-9) and summary.mean > 0.5
    )
    assert abs(metric.summarize(*clouds(0.0)).mean) < 0.1
    few = {"feature": rows["feature"][:2]}  # 4 + 4 points: fewer than n_neighbors + 1
    assert math.isfinite(metric.summarize(few, reference).mean)
    assert math.isfinite(metric.summarize({"feature": rows["feature"][:1]}, reference).mean)
