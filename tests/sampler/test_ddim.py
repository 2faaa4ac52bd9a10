"""Inversion and random denoising: closed forms for Gaussian images with their exact denoiser, costs and independence
with a random network."""

import itertools
import math
import re

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.schema import SCALES
from pomelo_lab.config.signature import node_problems
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.sampler.ddim import DDIMSampler
from pomelo_lab.types import Perturbations
from tests.running import config
from tests.sampler.exact import (
    MEAN,
    SIGMA,
    apart,
    counted,
    decoded,
    gaussian_batch,
    gaussian_ddpm,
    pixels,
    predict_noise,
    tiny_ddpm,
)

SOLVERS = ["dpm++", "sde-dpm++", "unipc", "deis"]
FEW = {"n_steps": 4, "eta": 0.4}


def perturbed(batch=None, n=5, seed=0, generator=None, **options):
    sampler = DDIMSampler(generator=generator or tiny_ddpm(), **options)
    return sampler.perturb(gaussian_batch(3) if batch is None else batch, None, n, RandomStreams(seed)).image


def fit_line(generator=None, n_images=32, n=16, **options):
    """The linear fit of perturbed pixels to their originals: (gain, offset, variance of the rest), in units of
    SIGMA."""
    batch = gaussian_batch(n_images)
    values = pixels(perturbed(batch, n, generator=generator or gaussian_ddpm(), keep_first=False, **options))
    given = pixels(batch.image)[:, None].expand_as(values)
    gain = float(((given - given.mean()) * (values - values.mean())).mean() / given.var(correction=0))
    offset = float((values - gain * given).mean())
    return gain, offset, float((values - gain * given - offset).var())


def expected(generator, n_steps, eta, start=0, spacing="trailing", **inversion):
    """The same in closed form."""
    decoding = generator.respace(n_steps, spacing).until(n_steps - start).alphas_cumprod
    n_encode, fixed_point = inversion.get("n_encode"), inversion.get("fixed_point", 0)
    encoding = decoding if n_encode is None else generator.respace(n_encode).alphas_cumprod
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for before, after in itertools.pairwise(encoding):
        guess = x
        for _ in range(1 + fixed_point):
            eps = predict_noise(guess, after)
            guess = math.sqrt(after / before) * (x - math.sqrt(1 - before) * eps) + math.sqrt(1 - after) * eps
        x = guess
    (gain, offset), variance = decoded(decoding, eta, x)
    return float(gain), float(gain * MEAN + offset - MEAN) / SIGMA, variance / SIGMA**2


# --- Gaussian images ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"n_steps": 50, "eta": 0.4},
        {"n_steps": 50, "eta": 1.0},
        {"n_steps": 10, "eta": 0.4, "fixed_point": 2},
        {"n_steps": 20, "eta": 0.8, "start": 7},
        {"n_steps": 16, "eta": 0.6, "n_encode": 50},
        {"n_steps": 20, "eta": 0.4, "spacing": "leading"},
        {"n_steps": 20, "eta": 0.4, "spacing": "linspace"},
    ],
    ids=str,
)
def test_gain_offset_and_noise_are_the_closed_form(options):
    """32,768 perturbed pixels: 4 standard errors are 0.022 of gain and offset, 3.2 % of the variance; rounding to 8
    bits adds 0.0001 of it."""
    generator = gaussian_ddpm()
    gain, offset, noise = expected(generator, **options)
    fit = fit_line(generator, **options)
    assert fit[:2] == pytest.approx((gain, offset), abs=0.022)
    assert fit[2] == pytest.approx(noise, rel=0.032, abs=2e-4)


def test_all_of_ddpm_s_noise_gives_new_images_of_the_data():
    """50 steps leave 80 % of the data's variance (closed form), more steps more of it; nothing of the image is left at
    once."""
    for n_steps, least in ((50, 0.79), (250, 0.9)):
        gain, offset, noise = expected(gaussian_ddpm(), n_steps, 1.0)
        assert abs(gain) < 1e-3 and abs(offset) < 0.01 and least < noise < 1
    gain, offset, noise = fit_line(n_steps=50, eta=1.0)
    assert abs(gain) < 0.022 and abs(offset) < 0.022 and 0.77 < noise < 0.83


def test_less_noise_keeps_a_part_of_the_image():
    assert fit_line(eta=0.4)[0] > 0.4 > fit_line(eta=0.8)[0]


@pytest.mark.parametrize(("n_steps", "fixed_point", "plain"), [(50, 3, 0.09), (20, 8, 0.21)])
def test_no_noise_and_an_exact_inversion_give_the_image_back(n_steps, fixed_point, plain):
    """The plain inversion loses `plain` of an image's deviations, in closed form."""
    batch, options = (
        gaussian_batch(8),
        {"generator": gaussian_ddpm(), "n_steps": n_steps, "eta": 0.0, "keep_first": False},
    )
    exact = perturbed(batch, 2, fixed_point=fixed_point, **options)
    assert apart(exact, Perturbations.quantize(batch.image)[:, None].expand_as(exact)) <= 1
    off = pixels(perturbed(batch, 1, **options)[:, 0]) - pixels(batch.image)
    assert float(off.square().mean().sqrt()) == pytest.approx(plain, abs=0.02)


def test_fixed_point_iterations_help_a_random_network_too():
    batch, off = gaussian_batch(8), []
    for fixed_point in (0, 1, 3):
        values = pixels(perturbed(batch, 1, n_steps=10, eta=0.0, fixed_point=fixed_point, keep_first=False)[:, 0])
        off.append(float((values - pixels(batch.image)).square().mean().sqrt()))
    assert off == sorted(off, reverse=True) and off[2] < 0.5 * off[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_come_near_the_data(solver):
    """After 20 steps. Measured gains 0.98 to 1.06, so that most of an image comes back; sde-dpm++ forgets it and has
    0.94 of the variance."""
    gain, offset, noise = fit_line(n_steps=20, n_encode=100, fixed_point=3, solver=solver, n=4)
    assert abs(offset) < 0.05
    if solver.startswith("sde"):
        assert abs(gain) < 0.05 and noise == pytest.approx(1, abs=0.15)
    else:
        assert gain == pytest.approx(1, abs=0.1) and noise < 1e-3


# --- noise and start ----------------------------------------------------------------------------------------------


def test_perturbations_differ_more_the_more_noise():
    spread = []
    for eta in (0.0, 0.2, 0.4, 0.8):
        values = pixels(perturbed(generator=gaussian_ddpm(), n_steps=20, eta=eta, keep_first=False))
        spread.append(float(values.var(1).mean()))
        assert torch.equal(values[:, 0], values[:, 1]) == (eta == 0)
    assert spread[0] == 0 and spread == sorted(spread) and spread[3] > 3 * spread[1]


def test_a_later_start_stays_closer():
    """start = 19 of 20 leaves one step, without noise: there and back, as far as one plain step is its own inverse."""
    generator, batch = gaussian_ddpm(), gaussian_batch(8)
    image = pixels(batch.image)[:, None]
    values = [pixels(perturbed(batch, 4, generator=generator, n_steps=20, start=i)[:, 1:]) for i in (0, 8, 16, 19)]
    off = [float((pixel_values - image).square().mean().sqrt()) for pixel_values in values]
    assert off == sorted(off, reverse=True) and off[0] > 0.5
    assert off[-1] < 0.03


@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
@pytest.mark.parametrize("start", [0, 3])
def test_any_number_of_inversion_steps_ends_where_denoising_starts(spacing, start):
    generator = tiny_ddpm()
    last = generator.respace(10, spacing).timesteps[9 - start]
    for n_encode in (None, 1, 7, 10, 31):
        schedule = DDIMSampler(
            generator=generator, n_steps=10, start=start, n_encode=n_encode, spacing=spacing
        ).encoding_schedule
        assert schedule.n_steps == (n_encode or 10 - start) and schedule.timesteps[-1] == last
        assert schedule.alphas_cumprod == (1.0, *generator.alphas_cumprod[list(schedule.timesteps)].tolist())


def test_clipping_is_passed_on():
    x = torch.full((2, 1, 8, 8), 20.0)
    largest_values = [
        float(DDIMSampler(generator=gaussian_ddpm(), eta=0.0, clip=clip).denoise(x, None).max())
        for clip in (False, True)
    ]
    assert largest_values[0] > 2 and largest_values[1] <= 1


# --- what a perturbation depends on -------------------------------------------------------------------------------


def test_the_first_is_the_image():
    perturbed_images, batch = perturbed(**FEW), gaussian_batch(3)
    assert perturbed_images.shape == (3, 5, 1, 8, 8) and perturbed_images.dtype == torch.uint8
    assert torch.equal(perturbed_images[:, 0], Perturbations.quantize(batch.image))
    assert apart(perturbed_images[:, 1:], perturbed(keep_first=False, **FEW)[:, 1:]) <= 1
    assert perturbed(n=0, **FEW).shape == (3, 0, 1, 8, 8)


@pytest.mark.parametrize("options", [{}, {"solver": "dpm++"}, {"solver": "sde-dpm++"}], ids=str)
def test_batches_neighbours_and_number_change_nothing(options):
    options, batch = {**FEW, **options}, gaussian_batch(3)
    whole = perturbed(**options)
    for size in (1, 4):
        assert apart(perturbed(generator=tiny_ddpm(batch_size=size), **options), whole) <= 1
    assert apart(perturbed(batch.select([2]), **options)[0], whole[2]) <= 1
    assert apart(perturbed(batch.select([2, 0, 1]), **options), whole[[2, 0, 1]]) <= 1
    assert apart(perturbed(n=2, **options), whole[:, :2]) <= 1


def test_seeds_and_images_differ():
    batch = gaussian_batch(2)
    batch.image[1] = batch.image[0]
    perturbed_images = perturbed(batch, **FEW)
    assert torch.equal(perturbed_images, perturbed(batch, **FEW))
    assert (
        apart(perturbed_images[:, 1:], perturbed(batch, seed=1, **FEW)[:, 1:]) > 10
        and apart(perturbed_images[0, 1:], perturbed_images[1, 1:]) > 10
    )


@pytest.mark.parametrize("solver", ["ddim", *SOLVERS])
def test_the_global_rng_is_left_alone(solver):
    before = torch.random.get_rng_state()
    perturbed(solver=solver, **FEW)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- costs and mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fixed_point": 2},
        {"start": 3},
        {"n_encode": 9},
        {"n_encode": 9, "start": 3, "fixed_point": 1},
        {"keep_first": False},
        {"clip": True},
        *({"solver": solver, "n_encode": 7} for solver in SOLVERS),
    ],
    ids=str,
)
def test_evaluations_are_counted(options):
    generator = tiny_ddpm()
    rows, sampler = counted(generator), DDIMSampler(generator=generator, n_steps=5, **options)
    sampler.perturb(gaussian_batch(3), None, 4, RandomStreams(0))
    assert sum(rows) == 3 * sampler.cost(4).evaluations


def test_inversion_is_shared_by_the_perturbations():
    sampler = DDIMSampler(generator=tiny_ddpm(), n_steps=50)
    assert sampler.cost(801).evaluations == 50 + 800 * 50  # POMELO: 50 steps there, 50 back per perturbation


def problems(**given):
    return node_problems({"_target_": "pomelo_lab.sampler.ddim.DDIMSampler", **given}, "sampler", Sampler, (DDPM,))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"start": 50}, "sampler.start must be below n_steps=50, got 50"),
        ({"n_steps": 4, "start": 5}, "sampler.start must be below n_steps=4, got 5"),
        ({"solver": "unipc", "start": 1}, "sampler.solver=unipc starts at the noisy end: set start=0, got 1"),
        ({"depth": 0.0}, "sampler.depth must be > 0, got 0.0"),
        ({"solver": "dpm"}, "sampler.solver must be one of 'ddim', 'dpm\\+\\+'"),
        ({"eta": -0.1}, "sampler.eta must be >= 0, got -0.1"),
        ({"eta": 1.1}, "sampler.eta must be <= 1, got 1.1"),
        ({"n_steps": 0}, "sampler.n_steps must be >= 1, got 0"),
        ({"n_encode": 0}, "sampler.n_encode must be >= 1, got 0"),
    ],
)
def test_wrong_arguments_are_named_in_configs_and_in_python(wrong, text):
    (texts,) = problems(**wrong)
    assert re.match(text, texts)
    with pytest.raises(ValueError, match=text):
        DDIMSampler(generator=tiny_ddpm(), **wrong)


def test_right_arguments_are_not():
    assert problems() == problems(n_steps=4, start=3, n_encode=9) == problems(solver="dpm++") == []


@pytest.mark.parametrize("scale", SCALES)
def test_few_steps_are_fewer_at_every_scale(scale, tmp_path):
    """They were 16 at every scale, where `ddim` had 2 to 50."""
    fast, usual = (config(tmp_path, f"sampler={name}", f"scale={scale}")["sampler"] for name in ("ddim_fast", "ddim"))
    assert fast["n_steps"] < usual["n_steps"] and (fast["n_encode"] or fast["n_steps"]) <= (
        usual["n_encode"] or usual["n_steps"]
    )


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="generator: made for images of 1x8x8, got 3x8x8"):
        perturbed(gaussian_batch(1, shape=(3, 8, 8)))


def test_more_steps_than_the_generator_has_are_refused():
    for wrong in ({"n_steps": 11}, {"n_steps": 4, "n_encode": 11}):
        with pytest.raises(ValueError, match=r"must be in 1\.\.10, the timesteps of the chain, got 11"):
            perturbed(generator=tiny_ddpm(n_timesteps=10), **wrong)


@pytest.mark.parametrize("solver", ["ddim", "dpm++"])
def test_depth_ends_the_path_at_a_share_of_the_schedule(solver):
    sampler = DDIMSampler(generator=tiny_ddpm(), n_steps=10, n_encode=50, depth=0.98, solver=solver)
    assert sampler.encoding_schedule.n_steps == 50 and sampler.encoding_schedule.timesteps[-1] == 979
    if solver == "ddim":
        assert sampler.generator.respace(10, depth=0.98).timesteps == tuple(range(97, 980, 98))
    else:
        assert int(sampler.scheduler.timesteps[0]) == 979


@pytest.mark.parametrize(("schedule", "depth"), [("linear", 1.0), ("cosine", 0.98)])
def test_depth_belongs_to_the_schedule(schedule, depth):
    """A cosine schedule ends in pure noise, from which nothing comes back; the paper's linear one does not."""
    generator = tiny_ddpm(schedule=schedule)
    default_depth = DDIMSampler(generator=generator, n_steps=10, depth=None)
    assert (
        generator.depth == depth
        and default_depth.encoding_schedule
        == DDIMSampler(generator=generator, n_steps=10, depth=depth).encoding_schedule
    )
    assert default_depth.encoding_schedule.alphas_cumprod[-1] > 1e-6
