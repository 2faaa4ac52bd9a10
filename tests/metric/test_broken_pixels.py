import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.broken_pixels import BrokenPixels, distances
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, tiny_batch


def bytes_of(*shape, high=256, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def training(n=40, side=12, high=40):
    return TinyDataset(
        image=Perturbations.dequantize(bytes_of(n, 3, side, side, high=high, seed=1)),
        label=torch.zeros(n, dtype=torch.long),
    )


def test_distances_against_a_plain_loop():
    images = bytes_of(2, 3, 3, 5, 6)
    padded = torch.nn.functional.pad(images.flatten(0, 1).float(), (1, 1, 1, 1), mode="replicate").view(2, 3, 3, 7, 8)
    distance_values = distances(images)
    assert distance_values.shape == (2, 3, 5, 6)
    for y in range(5):
        for x in range(6):
            median = padded[..., y : y + 3, x : x + 3].flatten(-2).median(-1).values
            assert torch.equal(distance_values[..., y, x].float(), (images[..., y, x].float() - median).abs().amax(-1))


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_training_images_exceed_the_quantile_by_its_share(quantile):
    data, metric = training(), BrokenPixels(n_reference=40, quantile=quantile)
    reference = metric.fit(data, None, RandomStreams(0))
    apart = distances(Perturbations.quantize(data.image))
    assert (
        float((apart > reference["threshold"]).double().mean())
        <= 1 - quantile
        < float((apart >= reference["threshold"]).double().mean())
    )


def test_single_pixels_are_counted_steps_are_not_and_the_first_perturbation_is_left_out():
    flat = torch.full((2, 4, 3, 12, 12), 100, dtype=torch.uint8)
    flat[..., 6:] = 220  # an edge: the median of its pixels is their own side's
    flat[0, 0, :, 2, 2] = flat[0, 1, 1, 4, 2] = flat[0, 3, 0, 9, 9] = 255 - 255
    metric = BrokenPixels(n_reference=40, n_per_image=2)
    batch = tiny_batch(2, (3, 12, 12))
    case = Case(
        batch=batch, perturbations=Perturbations(image=flat), reference=metric.fit(training(), None, RandomStreams(0))
    )
    assert metric.score(case)["value"].tolist() == [1 / (2 * 144), 0.0]
