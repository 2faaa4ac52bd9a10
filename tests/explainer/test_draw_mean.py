"""Means over draws: one axis of images and draws gives what each image alone gives, whatever cuts the axis."""

import pytest
import torch

from pomelo_lab.batching import MicroBatches, RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.draw_mean import entropy_under_noise, mean_over_draws
from pomelo_lab.explainer.fido import FidoExplainer
from pomelo_lab.explainer.fisher_sde import FisherSDEExplainer
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.explainer.input_iba import InputIBAExplainer
from pomelo_lab.sampler.noise import NoiseSampler
from pomelo_lab.throughput import FastestBatches
from tests.explainer.gradients import rectified
from tests.explainer.removing import TARGET
from tests.tiny import TinyDataset, batch_of, tiny_batch, tiny_image

EXPLAINERS = {
    "fisher": lambda: FisherSDEExplainer(reading="one_minus_t", n_steps=5, n_draws=7),
    "iba": lambda: IBAExplainer(layer="stem", n_fit=20, n_steps=5, n_draws=7),
    "input_iba": lambda: InputIBAExplainer(layer="stem", n_fit=20, n_epochs=0, n_feature_steps=3, n_steps=3, n_draws=7),
    "fido": lambda: FidoExplainer(sampler=NoiseSampler(), mask_px=8, n_steps=5, n_samples=7),
}


def training(shape):
    return TinyDataset(image=tiny_image(20, shape, seed=9), label=torch.arange(20) % 3)


def explained(explainer, classifier, order=(0, 1, 2), batch_size=64):
    box = view(classifier, "white_box", batch_size)
    batch, rows = batch_of(tiny_image(3, (3, 16, 16))), list(order)
    reference = explainer.fit(training((3, 16, 16)), box) if explainer.fits else {}
    box.queries = 0
    case = Case(batch.select(rows), TARGET[rows], box, RandomStreams(0), reference=reference)
    return explainer.explain(case).attribution, box


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_mean_and_derivatives_are_those_of_all_draws_at_once(batch_size):
    share = torch.rand(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    one, other = (torch.rand(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def answer(row, draw, one, other):
        return share[row, draw] * (one * other.exp()).sum(1).square()

    mean = mean_over_draws(MicroBatches(batch_size), 4, answer, one, other)
    right = (share * (one * other.exp()).sum(1).square()[:, None]).mean(1)
    torch.testing.assert_close(mean, right)
    above = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    for ours, plain in zip(*(torch.autograd.grad(m, (one, other), above) for m in (mean, right)), strict=True):
        torch.testing.assert_close(ours, plain)


def test_entropy_under_noise_is_that_of_plain_torch():
    classifier, batch = rectified(), tiny_batch(3)
    case = Case(batch, TARGET, view(classifier, "white_box", 4), RandomStreams(0))
    mean = batch.image.clone().requires_grad_(True)
    std = torch.full((3, 1, 8, 8), 0.1, requires_grad=True)

    def log_odds(row, noisy):
        return case.classifier.log_odds(noisy, TARGET[row])

    entropy = entropy_under_noise(case, "noise", 5, log_odds, mean, std)
    noise = case.streams.normal(batch.image_id, "noise", 5, 3, 8, 8)
    logits = classifier.logit((mean[:, None] + std[:, None] * noise).flatten(0, 1))
    right = torch.nn.functional.cross_entropy(logits, TARGET.repeat_interleave(5), reduction="none").view(3, 5).mean(1)
    torch.testing.assert_close(entropy, right.float())
    for ours, plain in zip(*(torch.autograd.grad(e.sum(), (mean, std)) for e in (entropy, right)), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_a_map_is_the_same_to_the_last_bit_in_any_batch_and_order(make):
    """In float32, whose rounding a search of hundreds of steps would amplify."""
    classifier, order = ResidualClassifier(num_classes=3, width=8), [2, 0, 1]
    whole, box = explained(make(), classifier)
    assert torch.equal(explained(make(), classifier, order)[0], whole[order])
    for batch_size in (1, 10, "auto"):
        other, counted = explained(make(), classifier, batch_size=batch_size)
        assert torch.equal(other, whole), batch_size
        assert counted.queries == box.queries
    for i in range(3):
        assert torch.equal(explained(make(), classifier, [i])[0][0], whole[i])


@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_draws_of_several_images_run_together_and_those_of_one_are_cut_when_memory_runs_out(make):
    classifier = rectified()
    if "layer" in vars(make()):
        make = lambda make=make: with_layer(make(), "0")  # noqa: E731 (the layer of another network)
    asked, log_odds = [], type(view(classifier, "white_box", 64)).log_odds

    def explain(most, batch_size=64):
        box = view(classifier, "white_box", batch_size)
        explainer = make()
        reference = explainer.fit(training((3, 8, 8)), box) if explainer.fits else {}

        def counted(images, target):
            asked.append(len(images))
            if len(images) > most:
                raise torch.OutOfMemoryError("out of memory")
            return log_odds(box, images, target)

        box.log_odds = counted
        return explainer.explain(Case(tiny_batch(3), TARGET, box, RandomStreams(0), reference=reference)).attribution

    whole = explain(21)
    assert set(asked) == {21}, "three images of seven draws"
    asked.clear()
    torch.testing.assert_close(explain(4), whole, atol=1e-5, rtol=0)
    assert asked[:4] == [21, 11, 6, 3] and max(asked[4:]) <= 3, "fewer than the draws of one image, from then on"


def with_layer(explainer, name):
    explainer.layer = name
    return explainer


@pytest.mark.parametrize("make", EXPLAINERS.values(), ids=EXPLAINERS)
def test_weights_get_no_gradients(make):
    classifier = ResidualClassifier(num_classes=3, width=8)
    _, box = explained(make(), classifier, batch_size="auto")
    assert isinstance(box.gradients, FastestBatches)
    assert all(not weight.requires_grad and weight.grad is None for weight in classifier.network.parameters())
