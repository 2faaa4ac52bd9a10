"""Gradients at many points of several images: one axis gives what one point after another gives."""

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import gradient
from pomelo_lab.explainer.gradient_mean import PointDraws, sum_gradients
from pomelo_lab.explainer.gradient_shap import GradientShapExplainer
from pomelo_lab.explainer.integrated_gradients import IntegratedGradientsExplainer
from pomelo_lab.explainer.smooth_grad import SmoothGradExplainer
from pomelo_lab.throughput import FastestBatches
from tests.explainer.gradients import rectified
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import tiny_batch

EXPLAINERS = {
    "smooth_grad": lambda: SmoothGradExplainer(n_draws=7),
    "gradient_shap": lambda: GradientShapExplainer(sampler=black(), n_draws=7, sigma=0.1),
    "integrated_gradients": lambda: IntegratedGradientsExplainer(sampler=black(), n_steps=7, most_steps=30),
}


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_one_axis_is_one_point_after_another(batch_size):
    classifier, batch = rectified(), tiny_batch(3)
    _, box = explained(SmoothGradExplainer(n_draws=1), batch, classifier=classifier, batch_size=batch_size)
    case = explained_case(batch, box)
    share = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=batch.image.dtype)

    def points(row, point):
        return batch.image[row] * share[row, point, None, None, None], share[row, point, None, None, None]

    whole = sum_gradients(box.module(), case, 4, points)
    for i in range(3):
        image, target = batch.image[[i]], TARGET[[i]]
        each = [gradient(classifier.logit, image * share[i, k], target) * share[i, k] for k in range(4)]
        torch.testing.assert_close(whole[[i]], torch.stack(each).sum(0), atol=1e-6, rtol=0)


def explained_case(batch, box):
    return Case(batch=batch, target=TARGET, classifier=box, streams=RandomStreams(0))


@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_the_order_of_images_and_the_batch_do_not_matter(make):
    batch, classifier, order = tiny_batch(3), rectified(), [2, 0, 1]
    whole, box = explained(make(), batch, classifier=classifier)
    shuffled, _ = explained(make(), batch.select(order), TARGET[order], classifier=classifier)
    torch.testing.assert_close(shuffled.attribution, whole.attribution[order], atol=1e-6, rtol=0)
    single, counted = explained(make(), batch, classifier=classifier, batch_size=1)
    torch.testing.assert_close(single.attribution, whole.attribution, atol=1e-6, rtol=0)
    assert counted.queries == box.queries


def test_rows_of_several_images_run_together():
    classifier, batch = rectified(), tiny_batch(3)
    assert asked_rows(classifier, batch, 64) == [21], "three images of seven points"
    assert asked_rows(classifier, batch, 10) == [10, 10, 1]
    assert asked_rows(classifier, batch, 2) == [7, 7, 7], "the points of one image are not cut"
    _, box = explained(SmoothGradExplainer(n_draws=7), batch, classifier=classifier, batch_size="auto")
    assert isinstance(box.gradients, FastestBatches) and box.gradients is not box._forwards


def asked_rows(classifier, batch, batch_size):
    rows, logit = [], classifier.logit

    def counting(images, **options):
        rows.append(len(images))
        return logit(images, **options)

    classifier.logit = counting
    try:
        explained(SmoothGradExplainer(n_draws=7), batch, classifier=classifier, batch_size=batch_size)
    finally:
        del classifier.logit
    return rows[1:]  # the first row tries the network


def test_draws_belong_to_images_and_are_made_once_each():
    drawn = []

    def draw(name):
        drawn.append(name)
        return RandomStreams(0).normal([name], "noise", 3, 2)

    draws, whole = PointDraws(("a", "b"), draw), RandomStreams(0).normal(["a", "b"], "noise", 3, 2)
    row, point = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2])
    parts = [draws(row[part], point[part]) for part in (slice(0, 2), slice(2, 4), slice(4, 6))]
    assert torch.equal(torch.cat(parts), whole.flatten(0, 1)) and drawn == ["a", "b"]
