"""In-painting: what is kept stays, what is removed follows the data and what was kept, and only that is paid for."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.metric.fidelity import Deletion, Insertion
from pomelo_lab.sampler.base import Filler
from pomelo_lab.sampler.inpaint_ddim import InpaintDDIMSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Explanation, to_8_bits
from tests.sampler.exact import (
    MEAN,
    SIGMA,
    apart,
    counted,
    decoded,
    gaussian_batch,
    gaussian_ddpm,
    pixels,
    stored,
    tiny_ddpm,
)
from tests.tiny import TinyLinear, batch_of

KNOWN = ["inverted", "q_sample"]
LEFT = (torch.arange(8) < 4).float().expand(1, 8, 8, 8)  # eight masks that keep the left half


def sampler(generator=None, **options):
    return InpaintDDIMSampler(generator=generator or tiny_ddpm(), **{"n_steps": 4, **options})


def filled(batch, keep, generator=None, seed=0, **options):
    return sampler(generator, **options).fill(
        batch.image, keep.expand(len(batch), -1, -1, -1), RandomStreams(seed), batch.image_id
    )


def random_masks(n_images=3, n=4, side=8):
    return (torch.rand(n_images, n, side, side, generator=torch.Generator().manual_seed(1)) < 0.5).float()


# --- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("sigma_px", [0.0, 1.0])
def test_all_kept_is_the_image_and_costs_nothing(known, sigma_px):
    generator, batch = tiny_ddpm(), gaussian_batch(2)
    rows = counted(generator)
    filled_images = filled(batch, torch.ones(1, 3, 8, 8), generator, known=known, sigma_px=sigma_px)
    assert torch.equal(filled_images, batch.image[:, None].expand_as(filled_images)) and rows == []


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize(("sigma_px", "reach"), [(0.0, 0), (1.0, 4), (0.5, 2)])
def test_beyond_the_blur_s_reach_nothing_changes_and_what_is_removed_does(known, sigma_px, reach):
    batch, keep = gaussian_batch(2, shape=(1, 16, 16)), torch.ones(1, 3, 16, 16)
    keep[..., 5:9, :6] = 0
    filled_images = filled(batch, keep, tiny_ddpm(size_px=16), known=known, sigma_px=sigma_px)
    near = F.max_pool2d(1 - keep[:, :1], 2 * reach + 1, 1, reach)[:, :, None] > 0
    changed = to_8_bits(filled_images) != to_8_bits(batch.image)[:, None]
    assert not (changed & ~near).any() and torch.equal(filled_images, stored(filled_images))
    assert changed[..., 5:9, :6].float().mean() > 0.95
    assert (changed & near & (keep[:, :, None] == 1)).any() == (reach > 0)  # soft edges mix both


@pytest.mark.parametrize("sigma_px", [0.1, 0.5, 1.0, 3.0])
def test_the_blur_is_scipy_s(sigma_px):
    keep = random_masks(side=12).flatten(0, 1)[:, None]
    expected = gaussian_filter(keep.numpy(), (0, 0, sigma_px, sigma_px), mode="nearest")
    torch.testing.assert_close(sampler(sigma_px=sigma_px).blurred(keep), torch.from_numpy(expected), atol=1e-4, rtol=0)
    assert sampler(sigma_px=0.0).blurred(keep) is keep


@pytest.mark.parametrize("known", KNOWN)
def test_a_soft_mask_blends(known):
    """One step from noise finds the data's mean, so that the blend of it and the image is known to one level."""
    batch, soft = gaussian_batch(4), torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0])
    filled_images = filled(
        batch, soft.view(1, 5, 1, 1).expand(-1, -1, 8, 8), gaussian_ddpm(), known=known, n_steps=1, sigma_px=0.0
    )
    expected = torch.lerp(torch.tensor((MEAN + 1) / 2), batch.image[:, None], soft.view(1, 5, 1, 1, 1))
    assert apart(to_8_bits(filled_images), to_8_bits(expected)) <= 1


# --- what is removed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"eta": 1.0}, {"eta": 0.8}, {"eta": 1.0, "known": "q_sample"}], ids=str)
def test_independent_pixels_are_filled_with_the_data_s_mean_and_variance(options):
    """32,768 filled pixels: 4 standard errors are 0.022 of the mean and 3.2 % of the variance, which after 50 steps is
    80 to 84 % of the data's."""
    generator, batch = gaussian_ddpm(), gaussian_batch(128)
    values = pixels(filled(batch, LEFT, generator, n_steps=50, sigma_px=0.0, **options))
    fill, kept_pixels = values[..., 4:], pixels(batch.image)[:, None, ..., :4].expand(-1, 8, -1, -1, -1)
    assert torch.equal(values[..., :4], kept_pixels)
    (_, offset), variance = decoded(
        generator.respace(50).alphas_cumprod, options["eta"], torch.zeros(2, dtype=torch.float64), 1.0
    )
    assert abs(float(offset) - MEAN) < 0.02 * SIGMA and 0.79 < variance / SIGMA**2 < 0.85
    assert float(fill.mean()) == pytest.approx((float(offset) - MEAN) / SIGMA, abs=0.022)
    assert float(fill.var()) == pytest.approx(variance / SIGMA**2, rel=0.032)
    assert abs(float((fill * kept_pixels).mean())) < 0.022


@pytest.mark.parametrize("known", KNOWN)
def test_independent_pixels_are_filled_whatever_was_kept(known):
    """Hard edges: the same draws give the same fill beside another left half."""
    batch, other = gaussian_batch(2), gaussian_batch(2, seed=1)
    first, second = (filled(b, LEFT, gaussian_ddpm(), known=known, sigma_px=0.0) for b in (batch, other))
    assert torch.equal(first[..., 4:], second[..., 4:]) and not torch.equal(first[..., :4], second[..., :4])


def paired(correlation):
    """(batch, exact denoiser) of images whose right half repeats the left one up to a correlation."""
    matrix, first = torch.eye(64).view(8, 8, 8, 8), torch.arange(4)
    for row in range(8):
        matrix[row, first, row, first + 4] = matrix[row, first + 4, row, first] = correlation
    batch = gaussian_batch(32)
    values = pixels(batch.image)
    values[..., 4:] = correlation * values[..., :4] + (1 - correlation**2) ** 0.5 * values[..., 4:]
    return dataclasses.replace(batch, image=stored(((values * SIGMA + MEAN + 1) / 2).float())), gaussian_ddpm(
        matrix.view(64, 64)
    )


def fit(batch, generator, **options):
    """(gain, rest): how removed right halves follow the kept left ones, and the mean square around the conditional
    mean."""
    fill = pixels(filled(batch, LEFT, generator, sigma_px=0.0, **{"n_steps": 20, **options}))[..., 4:]
    kept_pixels = pixels(batch.image)[:, None, ..., :4].expand_as(fill)
    return float((fill * kept_pixels).mean() / kept_pixels.square().mean()), float(
        (fill - 0.95 * kept_pixels).square().mean()
    )


@pytest.mark.parametrize("known", KNOWN)
def test_fills_follow_what_was_kept_and_resampling_brings_them_closer(known):
    """Correlation 0.95; measured gains 0.57 (q_sample) and 0.69, with ten resamplings 0.73 and 0.79, standard error
    0.005."""
    batch, generator = paired(0.95)
    plain, jumps, resampled = (
        fit(batch, generator, known=known, eta=0.8, **options)
        for options in ({}, {"jump_length": 5, "n_resample": 5}, {"n_resample": 10})
    )
    assert 0.5 < plain[0] < jumps[0] < resampled[0] < 0.95
    assert plain[1] > jumps[1] > resampled[1] > 1 - 0.95**2


def test_noised_originals_know_nothing_of_what_was_removed_and_inverted_ones_do():
    """The paper's inversion looks at the whole image, removed pixels included: with known=inverted they leave a trace
    in the fill."""
    batch, generator = paired(0.95)
    image = batch.image.clone()
    image[..., 4:] = image[..., 4:].flip(0)
    other = dataclasses.replace(batch, image=image)
    for known, same in (("q_sample", True), ("inverted", False)):
        first, second = (filled(b, LEFT, generator, known=known, sigma_px=0.0) for b in (batch, other))
        assert torch.equal(first, second) == same


# --- costs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"known": "q_sample"},
        {"fixed_point": 2},
        {"n_resample": 3},
        {"jump_length": 2, "n_resample": 3, "known": "q_sample"},
        {"keep_first": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("n", [1, 4])
def test_evaluations_are_counted(options, n):
    generator, batch = tiny_ddpm(), gaussian_batch(3)
    rows, made = counted(generator), sampler(generator, n_steps=5, **options)
    perturbations = made.perturb(batch, GridSegmenter(n_segments=16).segment(batch.image), n, RandomStreams(0))
    assert not perturbations.keep_mask[:, 1:].all(2).any() and perturbations.keep_mask[:, 0].all() == made.keep_first
    assert sum(rows) == 3 * made.cost(n).evaluations


def test_images_that_lose_nothing_cost_nothing_beside_others_that_do():
    generator, batch, keep = tiny_ddpm(), gaussian_batch(3), torch.ones(3, 2, 8, 8)
    keep[2, 1, :4] = 0
    rows, whole = counted(generator), filled(batch, keep, generator)
    assert sum(rows) == 8 and torch.equal(whole[:2], batch.image[:2, None].expand(-1, 2, -1, -1, -1))
    assert apart(to_8_bits(whole[2:]), to_8_bits(filled(batch.select([2]), keep[2:]))) <= 1


# --- what a fill depends on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"known": "q_sample", "n_resample": 2}], ids=str)
def test_batches_and_neighbours_change_nothing(options):
    batch, keep = gaussian_batch(3), random_masks()
    whole = to_8_bits(filled(batch, keep, **options))
    assert (
        torch.equal(to_8_bits(filled(batch, keep, **options)), whole)
        and apart(to_8_bits(filled(batch, keep, seed=1, **options)), whole) > 10
    )
    for size in (1, 5):
        assert apart(to_8_bits(filled(batch, keep, tiny_ddpm(batch_size=size), **options)), whole) <= 1
    assert apart(to_8_bits(filled(batch.select([2]), keep[2:], **options)), whole[2:]) <= 1
    assert apart(to_8_bits(filled(batch, keep[:, :2], **options)), whole[:, :2]) <= 1
    changed = keep.clone()
    changed[:, 1] = 1
    assert apart(to_8_bits(filled(batch, changed, **options))[:, 2:], whole[:, 2:]) <= 1


def test_equal_masks_are_filled_with_noise_of_their_own():
    filled_images = filled(gaussian_batch(1), LEFT)
    assert not torch.equal(filled_images[:, 0], filled_images[:, 1])


def test_perturbing_drops_segments_and_fills_them():
    batch, made = gaussian_batch(3), sampler(sigma_px=0.0)
    segments = GridSegmenter(n_segments=16).segment(batch.image)
    perturbations = made.perturb(batch, segments, 5, RandomStreams(0))
    keep = perturbations.keep_mask.gather(2, segments.label.flatten(1)[:, None].expand(-1, 5, -1)).view(3, 5, 8, 8)
    assert torch.equal(
        perturbations.image, to_8_bits(made.fill(batch.image, keep.float(), RandomStreams(0), batch.image_id))
    )
    assert (
        torch.equal(perturbations.image[:, 0], to_8_bits(batch.image))
        and isinstance(made, Filler)
        and made.context == "mask"
    )
    with pytest.raises(ValueError, match="needs segments"):
        made.perturb(batch, None, 5, RandomStreams(0))


def test_the_global_rng_is_left_alone():
    before = torch.random.get_rng_state()
    filled(gaussian_batch(1), LEFT, known="q_sample", n_resample=2)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- where it is used ------------------------------------------------------------------------------------------------


def test_as_base_of_the_deletion_and_insertion_games():
    """Both end at the image itself, where nothing is removed; an image's score does not depend on its neighbours."""
    batch, classifier = gaussian_batch(3), TinyLinear.random(3, (1, 8, 8))
    attribution = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
    target = torch.tensor([0, 1, 2])
    clean = classifier.probability(batch.image).gather(1, target[:, None])[:, 0]

    def score(metric, rows):
        explanation = Explanation(target=target, attribution=attribution).select(rows)
        case = Case(
            batch=batch.select(rows),
            target=target[rows],
            explanation=explanation,
            classifier=view(classifier, "black_box", 16),
        )
        return metric.score(dataclasses.replace(case, streams=RandomStreams(0)))

    for kind, end in ((Deletion, 0), (Insertion, -1)):
        metric = kind(filler=sampler(), step_px=16, bound=1.0, n_orders=2)
        scores = score(metric, [0, 1, 2])
        assert scores["curve"].shape == (3, 5) and scores["value"].isfinite().all()
        torch.testing.assert_close(scores["curve"][:, end], clean)
        # a level flipped by rounding
        torch.testing.assert_close(score(metric, [1])["value"], scores["value"][1:2], atol=0.01, rtol=0)


def test_as_sampler_of_lime():
    """A linear score of independent pixels: a segment's coefficient is what its own pixels add to fills of mean (MEAN +
    1) / 2.

    Fills vary by 0.113 per pixel, so that with 400 perturbations 4 standard errors of a coefficient are 0.3 or less.
    """
    batch = batch_of(stored(torch.full((1, 1, 8, 8), 0.9)))
    segments, value = GridSegmenter(n_segments=4).segment(batch.image), torch.tensor([1.0, -0.5, 0.25, 0.0])
    classifier = TinyLinear(weight=value[segments.label][:, None], output="identity")
    perturbations = sampler(gaussian_ddpm(), n_steps=10, sigma_px=0.0, rate=0.5).perturb(
        batch, segments, 400, RandomStreams(0)
    )
    black_box = view(classifier, "black_box", 64)
    explained = LimeExplainer(n_samples=400, alpha=0.0).explain(
        Case(batch, torch.tensor([0]), black_box, RandomStreams(0), segments, perturbations)
    )
    expected = 16 * value * (batch.image[0, 0, 0, 0] - (MEAN + 1) / 2)
    torch.testing.assert_close(explained.extra["coefficient"][0], expected, atol=0.3, rtol=0)


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"n_resample": 0}, "sampler.n_resample must be >= 1, got 0"),
        ({"jump_length": 0}, "sampler.jump_length must be >= 1, got 0"),
        ({"sigma_px": -1}, "sampler.sigma_px must be >= 0, got -1"),
        ({"eta": 1.1}, "sampler.eta must be <= 1, got 1.1"),
        ({"known": "noised"}, "sampler.known must be one of 'inverted', 'q_sample', got 'noised'"),
    ],
)
def test_wrong_arguments(wrong, text):
    with pytest.raises(ValueError, match=text):
        sampler(**wrong)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="generator: made for images of 1x8x8, got 1x16x16"):
        filled(gaussian_batch(1, shape=(1, 16, 16)), torch.zeros(1, 1, 16, 16))
