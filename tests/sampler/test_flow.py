"""Interpolation in a flow's latent space: its two ends, its moments, and what a perturbation depends on."""

import pytest
import torch

from pomelo_lab import philox
from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.flow import FlowSampler
from pomelo_lab.types import Perturbations
from tests.sampler.exact import apart, counted, tiny_glow
from tests.tiny import batch_of, tiny_image

SCALE = 12  # standard deviations of the toy's latents from black to white: none is clamped
IMAGES = tiny_image(3, (3, 8, 8))


def perturbed(images=IMAGES, n=5, seed=0, names=("a", "b", "c"), generator=None, **options):
    sampler = FlowSampler(generator=generator or tiny_glow(), **options)
    return sampler.perturb(batch_of(images, names=names[: len(images)]), None, n, RandomStreams(seed)).image


def pixel_flow():
    """A flow whose latents are the pixels."""
    generator = tiny_glow(channels=1, size_px=16)
    generator.encode = lambda images: SCALE * (images.flatten(1) - 0.5)
    generator.decode = lambda latent: (latent / SCALE + 0.5).view(-1, 1, 16, 16)
    return generator


def two_latents():
    """(image, its two latent values): left half and right half."""
    image = torch.full((1, 1, 16, 16), 78 / 255)
    image[..., 8:] = 153 / 255
    return image, [SCALE * (image[0, 0, 0, column].item() - 0.5) for column in (0, 8)]


# --- both ends ----------------------------------------------------------------------------------------------------


def test_no_share_returns_the_image():
    generator = tiny_glow()
    perturbed_images = perturbed(generator=generator, mu=0.0, sigma=0.0, keep_first=False)
    expected = Perturbations.quantize(generator.decode(generator.encode(IMAGES)))
    for k in range(5):
        assert (
            apart(perturbed_images[:, k], expected) == 0
            and apart(perturbed_images[:, k], Perturbations.quantize(IMAGES)) <= 1
        )


def test_full_share_is_a_sample_of_the_flow_whatever_the_image():
    generator = tiny_glow()
    first, second = (perturbed(IMAGES[[i]], generator=generator, mu=1.0, sigma=0.0, keep_first=False) for i in (0, 1))
    assert torch.equal(first, second) and not torch.equal(first[:, 0], first[:, 1])
    keys = [RandomStreams(0).key("a", f"flow.{k}") for k in range(5)]
    draws = philox.normal(keys, 192, first=philox.count_blocks(192))  # the first 192 numbers are the shares
    assert apart(first[0], Perturbations.quantize(generator.decode(draws))) <= 1
    cold = perturbed(generator=generator, mu=1.0, sigma=0.0, temperature=0.0, keep_first=False)
    assert torch.equal(cold, cold[:1, :1].expand_as(cold))  # the flow's most typical image


# --- moments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mu", "sigma", "temperature"), [(0.5, 0.3, 1.0), (0.2, 0.0, 1.0), (0.5, 0.3, 0.4), (0.0, 0.5, 0.0)]
)
def test_moments_are_those_of_the_formula(mu, sigma, temperature):
    """25,600 values each: 4 standard errors are 2.5 % of the deviation; of the variance 6 %, products of normals having
    heavy tails."""
    image, latents = two_latents()
    perturbed_images = perturbed(
        image, 200, generator=pixel_flow(), mu=mu, sigma=sigma, temperature=temperature, keep_first=False
    )
    perturbed_images = SCALE * (perturbed_images[0, :, 0].double() / 255 - 0.5)
    for z, part in zip(latents, (perturbed_images[..., :8], perturbed_images[..., 8:]), strict=True):
        variance = sigma**2 * z**2 + (mu**2 + sigma**2) * temperature**2
        assert float(part.mean()) == pytest.approx((1 - mu) * z, abs=0.025 * variance**0.5)
        assert float(part.var()) == pytest.approx(variance, rel=0.06)


def test_the_share_is_drawn_for_every_dimension():
    """Were it one number per perturbation, the 128 equal latents of half an image would move together, not average
    out."""
    image, (z, _) = two_latents()
    perturbed_images = perturbed(
        image, 200, generator=pixel_flow(), mu=0.5, sigma=0.3, temperature=0.0, keep_first=False
    )
    left = SCALE * (perturbed_images[0, :, 0, :, :8].double() / 255 - 0.5)
    # 200 values: 4 standard errors
    assert float(left.mean((1, 2)).var()) == pytest.approx(0.3**2 * z**2 / 128, rel=0.4)


# --- what a perturbation depends on -------------------------------------------------------------------------------


def test_the_first_is_the_image():
    perturbed_images = perturbed()
    assert perturbed_images.shape == (3, 5, 3, 8, 8) and perturbed_images.dtype == torch.uint8
    assert torch.equal(perturbed_images[:, 0], Perturbations.quantize(IMAGES))
    assert torch.equal(perturbed_images[:, 1:], perturbed(keep_first=False)[:, 1:])
    assert perturbed(n=0).shape == (3, 0, 3, 8, 8)


def test_seeds_images_and_perturbations_differ():
    same = perturbed(IMAGES[[0, 0]])
    assert torch.equal(same, perturbed(IMAGES[[0, 0]])) and not torch.equal(same, perturbed(IMAGES[[0, 0]], seed=1))
    kinds = [same[0, 1], same[0, 2], same[1, 1]]
    assert all(apart(kinds[i], kinds[j]) > 10 for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_micro_batches_change_nothing(batch_size):
    assert apart(perturbed(generator=tiny_glow(batch_size=batch_size)), perturbed()) <= 1


def test_neighbours_and_number_change_nothing():
    whole = perturbed()
    assert apart(perturbed(IMAGES[[2]], names=("c",))[0], whole[2]) <= 1
    assert apart(perturbed(IMAGES[[2, 0, 1]], names=("c", "a", "b")), whole[[2, 0, 1]]) <= 1
    assert apart(perturbed(n=2), whole[:, :2]) <= 1


def test_the_global_rng_is_left_alone():
    before = torch.random.get_rng_state()
    perturbed()
    assert torch.equal(torch.random.get_rng_state(), before)


# --- costs and mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "keep_first"), [(5, True), (5, False), (1, True)])
def test_evaluations_are_counted(n, keep_first):
    generator = tiny_glow()
    rows, sampler = counted(generator), FlowSampler(generator=generator, keep_first=keep_first)
    sampler.perturb(batch_of(IMAGES), None, n, RandomStreams(0))
    assert sum(rows) == 3 * sampler.cost(n).evaluations


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="generator: made for images of 3x8x8, got 3x16x16"):
        perturbed(tiny_image(1, (3, 16, 16)))


@pytest.mark.parametrize("name", ["sigma", "temperature"])
def test_wrong_arguments(name):
    with pytest.raises(ValueError, match=f"sampler.{name} must be >= 0, got -0.1"):
        FlowSampler(generator=tiny_glow(), **{name: -0.1})


def test_pixels_that_overflow_are_black_and_their_images_are_counted(caplog):
    generator = tiny_glow()
    decode = generator.decode
    generator.decode = lambda latent: decode(latent).index_fill(3, torch.tensor(2), torch.nan)
    broken = perturbed(generator=generator)
    assert broken[:, 1:, :, :, 2].eq(0).all() and broken[:, 0].equal(Perturbations.quantize(IMAGES))
    generator.decode = decode
    assert broken[..., 3:].equal(perturbed(generator=generator)[..., 3:])
    assert [record.getMessage() for record in caplog.records] == [
        f"generator {type(generator).__name__}: 12 of 12 images that it made have pixels that are not finite (NaN); "
        "these are black"
    ]
