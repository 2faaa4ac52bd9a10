"""The bottleneck at a layer: statistics, information, optimisation and independence of the batch."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.bottleneck import Moments, bits, capacity, passes
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.iba import IBAExplainer
from tests.explainer.gradients import TinyNetwork, rectified
from tests.explainer.removing import TARGET
from tests.tiny import TinyDataset, tiny_batch, tiny_image


def training(n=40):
    return TinyDataset(image=tiny_image(n, (3, 8, 8), seed=9), label=torch.arange(n) % 3)


def explained(explainer, batch=None, target=TARGET, classifier=None, batch_size=64):
    box = view(classifier or rectified(), "white_box", batch_size)
    reference = explainer.fit(training(), box)
    batch = tiny_batch(3) if batch is None else batch
    return explainer.explain(Case(batch, target, box, RandomStreams(0), reference=reference))


def iba(**options):
    return IBAExplainer(**{"layer": "0", "n_fit": 40, **options})


def test_moments_merged_batch_by_batch():
    values = np.random.default_rng(0).normal(1e3, 1e-2, (50, 2, 3))  # where sums of squares would lose all digits
    values[:30, 0, 0] = 0
    moments = Moments()
    for part in np.split(values, [1, 20, 21]):
        moments.add(torch.from_numpy(part))
    statistics = moments.tensors(0.39)
    np.testing.assert_allclose(moments.mean.numpy(), values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"].numpy(), values.std(0, ddof=1), rtol=1e-5)
    assert (
        statistics["active"][0, 0] == 1
        and moments.tensors(0.4)["active"][0, 0] == 0
        and moments.tensors(0.4)["active"].sum() == 5
    )


def test_statistics_of_a_layer_and_a_layer_without_maps():
    classifier, data = rectified(), training()
    box = view(classifier, "white_box", 7)
    reference = iba(layer="1", n_fit=25).fit(data, box)
    assert iba(layer="1", n_fit=25).fit_cost(40) == Cost(box.queries) and iba(n_fit=50).fit_cost(40) == Cost(40)
    values = classifier.network[:2](data.image[data.order()[:25]].double())
    torch.testing.assert_close(reference["mean"].double(), values.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(reference["std"].double(), values.std(0), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"explainer.layer must give maps \[M,C,h,w\], Linear gives"):
        iba(layer="6").fit(data, view(classifier, "white_box", 7))
    with pytest.raises(ValueError, match="layer '11' does not exist.*did you mean"):
        iba(layer="11").fit(data, view(classifier, "white_box", 7))


def test_capacity_is_the_divergence_from_what_is_known_without_the_image():
    logit, standard = torch.randn(200, dtype=torch.float64), torch.randn(200, dtype=torch.float64)
    signal, noise = passes(logit, 0.0)
    expected = kl_divergence(Normal(signal * standard, noise), Normal(torch.zeros(200).double(), 1.0))
    torch.testing.assert_close(capacity(signal, noise, standard), expected, atol=1e-6, rtol=0)
    assert capacity(torch.zeros(1), torch.ones(1), torch.ones(1)) == 0
    sure = capacity(*passes(torch.tensor([200.0]), 0.0), torch.ones(1))
    assert sure.isfinite() and sure > 20


def test_blur_comes_after_the_sigmoid_and_ends_at_two_deviations():
    logit = torch.full((1, 1, 7, 7), -100.0)
    logit[..., 3, 3] = 100
    signal, noise = passes(logit, 1.0)
    weight = torch.exp(-(torch.arange(-2, 3.0) ** 2) / 2)
    expected = torch.zeros(7, 7)
    expected[1:6, 1:6] = torch.outer(weight, weight) / weight.sum() ** 2
    torch.testing.assert_close(signal[0, 0], expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(signal + noise, torch.ones_like(signal))


def test_map_counts_the_bits():
    per_value = 0.25
    information = bits(torch.full((2, 5, 4, 4), per_value), (8, 12))
    torch.testing.assert_close(information.sum((1, 2)), torch.full((2,), 5 * 16 * per_value / math.log(2)))


def test_optimised_step_by_step_as_written():
    """One image, two steps, plain torch: cross-entropy of the noisy layer plus beta times the mean capacity, under
    Adam."""
    classifier, batch, made = rectified(), tiny_batch(3), iba(n_steps=2, n_draws=3, beta=4.0, init=1.0)
    explanation = explained(made, batch, classifier=classifier)
    reference = {k: v.double() for k, v in made.fit(training(), view(classifier, "white_box", 64)).items()}
    streams, lower, upper = RandomStreams(0), classifier.network[:1], classifier.network[1:]
    value = lower(batch.image[:1].double())
    std = reference["std"].clamp_min(0.01)
    logit, losses = torch.full_like(value, 1.0).requires_grad_(True), []
    adam = torch.optim.Adam([logit], lr=1.0)
    for step in range(2):
        signal, noise = passes(logit, 1.0)
        draw = streams.normal(batch.image_id[:1], f"iba.{step}", 3, *value.shape[1:])[0].double()
        mixed = (signal * value + noise * (reference["mean"] + std * draw)) * reference["active"]
        entropy = torch.nn.functional.cross_entropy(upper(mixed), TARGET[:1].expand(3))
        known = kl_divergence(
            Normal(signal * (value - reference["mean"]) / std, noise), Normal(torch.zeros_like(value), 1.0)
        )
        loss = entropy + 4.0 * (known * reference["active"]).mean()
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    signal, noise = passes(logit.detach(), 1.0)
    known = kl_divergence(
        Normal(signal * (value - reference["mean"]) / std, noise), Normal(torch.zeros_like(value), 1.0)
    )
    expected = bits(known * reference["active"], (8, 8))
    torch.testing.assert_close(explanation.attribution[:1].double(), expected, atol=1e-4, rtol=1e-4)
    assert float(explanation.extra["cross_entropy"][0]) == pytest.approx(entropy.item(), abs=1e-5)
    # two steps
    assert explanation.extra["loss"][0].tolist() == pytest.approx(losses, rel=1e-4) and explanation.extra[
        "moving"
    ].tolist() == [1, 1, 1]


def test_what_does_not_matter_loses_its_information():
    """The layer passes the pixels on, and the answer looks at the first two rows: only they keep their bits."""
    batch = tiny_batch(3).select([0])
    layers = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Flatten(), nn.Linear(192, 2))
    weight = torch.zeros(2, 3, 8, 8)
    weight[0, :, :2] = 4 * (batch.image[0, :, :2] - 0.5)
    with torch.no_grad():
        layers[0].weight.copy_(torch.eye(3)[..., None, None])
        layers[2].weight.copy_(weight.flatten(1))
    classifier = TinyNetwork(made=layers, num_classes=2)
    attribution = explained(
        iba(n_steps=40, sigma_cells=0.0, beta=2.0), batch, torch.zeros(1, dtype=torch.long), classifier
    ).attribution
    assert float(attribution[:, :2].sum()) > 5 * float(attribution[:, 2:].sum())


def test_alone_and_in_any_batch():
    batch, classifier = tiny_batch(3), rectified()
    whole = explained(iba(), batch, classifier=classifier)
    for size in (1, 20):
        torch.testing.assert_close(
            explained(iba(), batch, classifier=classifier, batch_size=size).attribution,
            whole.attribution,
            atol=1e-5,
            rtol=0,
        )
    for i in range(3):
        alone = explained(iba(), batch.select([i]), TARGET[[i]], classifier)
        torch.testing.assert_close(alone.attribution[0], whole.attribution[i], atol=1e-5, rtol=0)


def test_constant_image_and_certain_classifier():
    batch, classifier = tiny_batch(3), rectified()
    flat = type(batch)(**{**vars(batch), "image": torch.full_like(batch.image, 0.5)})
    with torch.no_grad():
        classifier.network[6].bias += torch.tensor([1e4, 0, 0])  # probability 1.0 from the start
    explanation = explained(iba(), flat, torch.zeros(3, dtype=torch.long), classifier)
    assert explanation.attribution.isfinite().all() and float(explanation.extra["cross_entropy"].max()) == 0
