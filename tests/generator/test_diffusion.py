"""Steps of diffusion: diffusers' numbers where diffusers has them, closed forms elsewhere.

Noise and answers are injected, never seeded.
"""

import math

import pytest
import torch

from pomelo_lab.generator.diffusion import (
    SOLVERS,
    Schedule,
    betas,
    ddim_sigma,
    decode,
    encode,
    noised,
    posterior,
    respace,
    solver,
    split_output,
)
from tests.generator.denoisers import COSINE, LINEAR, draw, gaussian, mixture

diffusers = pytest.importorskip("diffusers")

PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def answer(x, t):
    """Stands for a network: smooth in x, another function at every timestep."""
    return torch.sin(3 * x + 0.01 * t) + 0.3 * x.roll(1, -1)


def theirs(kind, prediction="epsilon", spacing="leading", n=50, **options):
    options = {
        "clip_sample": False,
        "set_alpha_to_one": True,
        "prediction_type": prediction,
        "timestep_spacing": spacing,
    } | options
    scheduler = getattr(diffusers, kind)(trained_betas=betas("linear", 1000).float().numpy(), **options)
    scheduler.set_timesteps(n)
    return scheduler, respace(scheduler.alphas_cumprod.double(), n, spacing)


def denoiser(alphas_cumprod, prediction):
    return lambda x, t: split_output(answer(x, t), x, float(alphas_cumprod[t]), prediction)


def near(actual, expected, tolerance=1e-5):
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max()


# --- predictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("alpha_bar", [0.999, 0.5, 0.01])
def test_split_inverts_noised(prediction, alpha_bar):
    x0, eps = draw(seed=1, dtype=torch.float64), draw(seed=2, dtype=torch.float64)
    x = noised(x0, alpha_bar, eps)
    output = {"epsilon": eps, "sample": x0, "v_prediction": math.sqrt(alpha_bar) * eps - math.sqrt(1 - alpha_bar) * x0}[
        prediction
    ]
    torch.testing.assert_close(split_output(output, x, alpha_bar, prediction), (x0, eps))


# --- DDIM down ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("spacing", "eta"), [("leading", 0.0), ("trailing", 0.0), ("leading", 0.4), ("trailing", 1.0)])
def test_decode_is_ddim(prediction, clip, spacing, eta):
    """Step by step from the same x: errors of many steps through a network that amplifies them say nothing about the
    arithmetic."""
    scheduler, schedule = theirs("DDIMScheduler", prediction, spacing, clip_sample=clip)
    denoise = denoiser(scheduler.alphas_cumprod, prediction)
    for k in (50, 49, 25, 2, 1):
        x, noise = draw(seed=k), draw(seed=1000 + k)
        if clip:
            x = x * 2
        t = schedule.timesteps[k - 1]
        expected = scheduler.step(
            answer(x, t), t, x, eta=eta, use_clipped_model_output=clip, variance_noise=noise
        ).prev_sample
        step = Schedule(schedule.timesteps[k - 1 : k], schedule.alphas_cumprod[k - 1 : k + 1])
        near(decode(denoise, x, step, eta=eta, noise=lambda _, noise=noise: noise, clip=clip), expected)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_whole_decoding_is_ddim(prediction, eta):
    scheduler, schedule = theirs("DDIMScheduler", prediction, "trailing", n=20)
    expected = start = draw(seed=3)
    for k, t in zip(range(20, 0, -1), scheduler.timesteps.tolist(), strict=True):
        expected = scheduler.step(answer(expected, t), t, expected, eta=eta, variance_noise=draw(seed=k)).prev_sample
    images = decode(
        denoiser(scheduler.alphas_cumprod, prediction), start, schedule, eta=eta, noise=lambda k: draw(seed=k)
    )
    near(images, expected, 1e-4 if eta == 0 else 1e-5)


def test_clipping_keeps_the_result_in_range():
    images = decode(denoiser(COSINE, "epsilon"), 3 * draw(), respace(COSINE, 10), clip=True)
    assert (
        images.abs().max() <= 1 and decode(denoiser(COSINE, "epsilon"), 3 * draw(), respace(COSINE, 10)).abs().max() > 1
    )


def test_a_part_of_a_schedule_begins_at_its_clean_end():
    schedule, asked = respace(COSINE, 7), []

    def denoise(x, t):
        asked.append(t)
        return gaussian(COSINE)(x, t)

    decode(denoise, draw(), schedule.until(3))
    assert asked == [schedule.timesteps[2], schedule.timesteps[1], schedule.timesteps[0]]
    x = draw()
    assert decode(denoise, x, schedule.until(0)) is x and len(asked) == 3


@pytest.mark.parametrize(("eta", "expected"), [(0.0, []), (0.4, [5, 4, 3, 2]), (1.0, [5, 4, 3, 2])])
def test_noise_is_asked_for_where_it_is_added(eta, expected):
    asked = []

    def noise(k):
        asked.append(k)
        return draw(seed=k)

    decode(gaussian(COSINE), draw(), respace(COSINE, 5), eta=eta, noise=noise)
    assert asked == expected  # never for the step to the clean image


def test_a_denoising_step_goes_up():
    with pytest.raises(ValueError, match="goes to a higher level, got 0.5 -> 0.4"):
        ddim_sigma(0.5, 0.4, 1.0)


# --- DDIM up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_encode_is_ddim_inversion(spacing):
    """Noise prediction only: for the others diffusers reads the network's answer at the alpha-bar it comes from, we at
    the one it is asked for."""
    scheduler, schedule = theirs("DDIMInverseScheduler", spacing=spacing)
    denoise = denoiser(scheduler.alphas_cumprod, "epsilon")
    expected = x0 = draw(seed=4)
    encoded_images = encode(denoise, x0, schedule)
    assert len(encoded_images) == schedule.n_steps + 1 and encoded_images[0] is x0
    for k, t in enumerate(scheduler.timesteps.tolist(), 1):
        expected = scheduler.step(answer(expected, t), t, expected).prev_sample
        near(encoded_images[k], expected, 1e-5 if k < 20 else 1e-4)
        expected = encoded_images[k]
    near(encode(denoise, x0, schedule.until(3))[-1], encoded_images[3])


@pytest.mark.parametrize(
    ("alphas_cumprod", "spacing", "limit"),
    [(LINEAR, "leading", 1e-3), (LINEAR, "trailing", 1e-3), (COSINE, "leading", 1e-3), (COSINE, "trailing", 3e-3)],
)
def test_fixed_point_iterations_make_the_inverse_exact(alphas_cumprod, spacing, limit):
    """RMSE at n=50, measured: 2e-2 to 4e-2 without, 3e-5 to 2e-4 with three iterations (methods/counterfactual.md,
    table 7.3).

    The last step of the cosine schedule keeps 2e-9 of the signal: a trailing schedule pays for that with 2e-3.
    """
    denoise, images = mixture(alphas_cumprod)
    schedule = respace(alphas_cumprod, 50, spacing)

    def rmse(fixed_point):
        return float(
            (decode(denoise, encode(denoise, images, schedule, fixed_point=fixed_point)[-1], schedule) - images)
            .square()
            .mean()
            .sqrt()
        )

    errors = [rmse(0), rmse(1), rmse(3)]
    assert errors[2] < limit and errors[2] < errors[1] < errors[0]


def test_a_partial_encoding_decodes_from_where_it_stopped():
    denoise, images = mixture(COSINE)
    schedule = respace(COSINE, 50)
    schedule = schedule.until(20)
    noisy = encode(denoise, images, schedule, fixed_point=8)[-1]
    torch.testing.assert_close(decode(denoise, noisy, schedule), images, atol=1e-6, rtol=0)


# --- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_single_image_as_data_is_found_in_any_number_of_steps(n, eta):
    x, schedule = draw(dtype=torch.float64), respace(COSINE, n)
    images = decode(gaussian(COSINE, 0.7, 0.0), x, schedule, eta=eta, noise=lambda k: draw(seed=k, dtype=torch.float64))
    torch.testing.assert_close(images, torch.full_like(x, 0.7))


def transfer(schedule, eta, mean=0.3, sigma=0.2):
    """Factor of the deterministic part and variance of the noise that DDIM makes of x - sqrt(alpha_bar) mean on
    Gaussian data."""
    factor, variance = 1.0, 0.0
    for k in range(schedule.n_steps, 0, -1):
        a, b = schedule.alphas_cumprod[k], schedule.alphas_cumprod[k - 1]
        added = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        step = (math.sqrt(b * a) * sigma**2 + math.sqrt((1 - b - added) * (1 - a))) / (a * sigma**2 + 1 - a)
        factor, variance = factor * step, variance * step**2 + added
    return factor, variance


@pytest.mark.parametrize("alphas_cumprod", [LINEAR, COSINE])
def test_gaussian_data_follow_the_closed_form(alphas_cumprod):
    schedule, x = respace(alphas_cumprod, 20), draw(dtype=torch.float64)
    factor, _ = transfer(schedule, 0.0)
    expected = 0.3 + factor * (x - math.sqrt(schedule.alphas_cumprod[-1]) * 0.3)
    torch.testing.assert_close(decode(gaussian(alphas_cumprod), x, schedule), expected)
    # the ODE multiplies by the deviation of the data
    ends = [transfer(respace(alphas_cumprod, n), 0.0)[0] for n in (20, 100, 1000)]
    errors = [abs(end - 0.2 / math.sqrt(1 - 0.96 * float(alphas_cumprod[-1]))) for end in ends]
    assert errors[2] < 2e-3 and errors == sorted(errors, reverse=True)


def test_ancestral_sampling_has_the_data_s_mean_and_variance():
    """10000 draws of one number: standard errors are 0.002 for the mean and 1 % for the variance; four of them are
    allowed."""
    schedule, rng = respace(COSINE, 50), torch.Generator().manual_seed(0)

    def noise(_):
        return torch.randn(10000, generator=rng, dtype=torch.float64)

    images = decode(gaussian(COSINE), noise(0), schedule, eta=1.0, noise=noise)
    factor, variance = transfer(schedule, 1.0)
    assert float(images.mean()) == pytest.approx(0.3, abs=0.008)
    assert float(images.var()) == pytest.approx(factor**2 + variance, rel=0.06)
    factor, variance = transfer(respace(COSINE, 1000), 1.0)
    assert factor**2 + variance == pytest.approx(0.2**2, rel=0.03)


# --- ancestral steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alphas_cumprod", [LINEAR, COSINE])
def test_full_ddim_with_noise_is_ddpm(alphas_cumprod):
    schedule = respace(alphas_cumprod, 1000)
    x, x0, zero = draw(seed=1, dtype=torch.float64), draw(seed=2, dtype=torch.float64), draw(dtype=torch.float64) * 0
    for k in range(2, 1001):
        start, end = schedule.alphas_cumprod[k], schedule.alphas_cumprod[k - 1]
        mean, variance = posterior(x, x0, start, end)
        assert ddim_sigma(start, end, 1.0) ** 2 == pytest.approx(variance, rel=1e-9)
        if k % 100 in (0, 2):
            eps = (x - math.sqrt(start) * x0) / math.sqrt(1 - start)
            step = Schedule((k - 1,), (end, start))
            torch.testing.assert_close(
                decode(lambda *_, eps=eps: (x0, eps), x, step, eta=1.0, noise=lambda _: zero),
                mean,
                rtol=1e-9,
                atol=1e-9,
            )


@pytest.mark.parametrize("n", [1000, 50])
def test_posterior_is_that_of_diffusers(n):
    """Its alphas_cumprod in float64, since it takes 1 - ratio of neighbours; timestep 0 excluded, where it clamps the
    variance."""
    scheduler = diffusers.DDPMScheduler(
        trained_betas=betas("linear", 1000).float().numpy(),
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="sample",
    )
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    schedule = respace(scheduler.alphas_cumprod, n, "leading")
    for k in (n, n - 1, n // 2, 3, 2):
        x, x0 = draw(seed=1), draw(seed=2)
        given = scheduler.step(x0, schedule.timesteps[k - 1], x, generator=torch.Generator().manual_seed(k)).prev_sample
        mean, variance = posterior(x, x0, schedule.alphas_cumprod[k], schedule.alphas_cumprod[k - 1])
        near(mean + math.sqrt(variance) * draw(seed=k), given, 2e-5)


# --- few-step solvers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("alphas_cumprod", "few"), [(LINEAR, 0.3), (COSINE, 0.1)], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", list(SOLVERS))
def test_solvers_reach_the_data_in_few_steps(name, alphas_cumprod, few, prediction):
    """Gaussian data N(0.3, 0.2^2), which the ODE reaches as 0.3 + 0.2 x. Deviations after 20 steps: within 10 %
    (cosine) and 30 % (linear) of 0.2, where DDIM is off by 16 and 30 %, DDPM by 24 and 36 %; after 100 steps within 3
    %."""
    beta = 1 - alphas_cumprod / torch.cat([torch.ones(1, dtype=alphas_cumprod.dtype), alphas_cumprod[:-1]])
    for n, limit in ((20, few), (100, 0.03)):
        scheduler, x = solver(name, beta, n, prediction), draw(64)
        assert len(scheduler.timesteps) == n and scheduler.timesteps[0] == 999 and scheduler.timesteps.diff().max() < 0
        start = x
        for t in scheduler.timesteps.tolist():
            x0, eps = gaussian(alphas_cumprod)(x, t)
            a = float(alphas_cumprod[t])
            output = {"epsilon": eps, "sample": x0, "v_prediction": math.sqrt(a) * eps - math.sqrt(1 - a) * x0}[
                prediction
            ]
            x = scheduler.step(
                output, t, x, **({"variance_noise": draw(64, seed=t)} if name.startswith("sde") else {})
            ).prev_sample
        factor = float(x.std() / start.std())
        assert float(x.mean()) == pytest.approx(0.3, abs=0.01) and factor == pytest.approx(0.2, rel=limit)
        if not name.startswith("sde"):
            torch.testing.assert_close(x - x.mean(), factor * (start - start.mean()), atol=2e-3, rtol=0)


def test_every_solver_is_fresh():
    assert solver("dpm++", betas("cosine", 1000), 10) is not solver("dpm++", betas("cosine", 1000), 10)
