"""Steps of diffusion: diffusers' numbers where diffusers has them, closed forms elsewhere.

Noise and answers are injected, never seeded.
"""

import math

import pytest
import torch

from pomelo_lab.generator.diffusion import (
    SOLVERS,
    Path,
    betas,
    decode,
    encode,
    inpaint,
    noised,
    path,
    posterior,
    resampled_places,
    sigma_of,
    solver,
    split,
)

diffusers = pytest.importorskip("diffusers")

PREDICTIONS = ["epsilon", "v_prediction", "sample"]
LINEAR = (1 - betas("linear", 1000)).cumprod(0)
COSINE = (1 - betas("cosine", 1000)).cumprod(0)
SHAPE = (3, 8, 8)


def draw(n=2, seed=0, shape=SHAPE, dtype=torch.float32):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


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
    return scheduler, path(scheduler.alphas_cumprod.double(), n, spacing)


def denoiser(level, prediction):
    return lambda x, t: split(answer(x, t), x, float(level[t]), prediction)


def gaussian(level, mean=0.3, sigma=0.2):
    """The exact denoiser of data N(mean, sigma^2)."""

    def denoise(x, t):
        a = float(level[t])
        off = (x - math.sqrt(a) * mean) / (a * sigma**2 + 1 - a)
        return mean + math.sqrt(a) * sigma**2 * off, math.sqrt(1 - a) * off

    return denoise


def mixture(level, sigma=0.4, n=24):
    """The exact denoiser of a mixture of n Gaussians around random images in [-1,1]."""
    centers = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 2 - 1

    def denoise(x, t):
        a = float(level[t])
        off = x[:, None] - math.sqrt(a) * centers
        weight = (-off.square().sum((2, 3, 4)) / (2 * (a * sigma**2 + 1 - a))).softmax(1)
        eps = math.sqrt(1 - a) * (weight[..., None, None, None] * off).sum(1) / (a * sigma**2 + 1 - a)
        return (x - math.sqrt(1 - a) * eps) / math.sqrt(a), eps

    noise = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    return denoise, centers[:8] + sigma * noise


def near(found, expected, tolerance=1e-5):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


# --- predictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("level", [0.999, 0.5, 0.01])
def test_split_inverts_noised(prediction, level):
    x0, eps = draw(seed=1, dtype=torch.float64), draw(seed=2, dtype=torch.float64)
    x = noised(x0, level, eps)
    output = {"epsilon": eps, "sample": x0, "v_prediction": math.sqrt(level) * eps - math.sqrt(1 - level) * x0}[
        prediction
    ]
    found = split(output, x, level, prediction)
    torch.testing.assert_close(found, (x0, eps))
    torch.testing.assert_close(noised(found[0], level, found[1]), x)


# --- DDIM down ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize(("spacing", "eta"), [("leading", 0.0), ("trailing", 0.0), ("leading", 0.4), ("trailing", 1.0)])
def test_decode_is_ddim(prediction, clip, spacing, eta):
    """Step by step from the same x: errors of many steps through a network that amplifies them say nothing about the
    arithmetic."""
    scheduler, along = theirs("DDIMScheduler", prediction, spacing, clip_sample=clip)
    denoise = denoiser(scheduler.alphas_cumprod, prediction)
    for k in (50, 49, 25, 2, 1):
        x, noise = draw(seed=k), draw(seed=1000 + k)
        if clip:
            x = x * 2
        t = along.timesteps[k - 1]
        expected = scheduler.step(
            answer(x, t), t, x, eta=eta, use_clipped_model_output=clip, variance_noise=noise
        ).prev_sample
        one = Path(along.timesteps[k - 1 : k], along.levels[k - 1 :][:1] + along.levels[k : k + 1])
        near(decode(denoise, x, one, eta=eta, noise=lambda _, noise=noise: noise, clip=clip), expected)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_a_whole_decoding_is_ddim(prediction, eta):
    scheduler, along = theirs("DDIMScheduler", prediction, "trailing", n=20)
    expected = start = draw(seed=3)
    for k, t in zip(range(20, 0, -1), scheduler.timesteps.tolist(), strict=True):
        expected = scheduler.step(answer(expected, t), t, expected, eta=eta, variance_noise=draw(seed=k)).prev_sample
    found = decode(denoiser(scheduler.alphas_cumprod, prediction), start, along, eta=eta, noise=lambda k: draw(seed=k))
    near(found, expected, 1e-4 if eta == 0 else 1e-5)


def test_clipping_keeps_the_result_in_range():
    found = decode(denoiser(COSINE, "epsilon"), 3 * draw(), path(COSINE, 10), clip=True)
    assert found.abs().max() <= 1 and decode(denoiser(COSINE, "epsilon"), 3 * draw(), path(COSINE, 10)).abs().max() > 1


def test_start_is_the_place_of_x():
    along, asked = path(COSINE, 7), []

    def denoise(x, t):
        asked.append(t)
        return gaussian(COSINE)(x, t)

    decode(denoise, draw(), along, start=3)
    assert asked == [along.timesteps[2], along.timesteps[1], along.timesteps[0]]
    x = draw()
    assert decode(denoise, x, along, start=0) is x and len(asked) == 3


@pytest.mark.parametrize(("eta", "expected"), [(0.0, []), (0.4, [5, 4, 3, 2]), (1.0, [5, 4, 3, 2])])
def test_noise_is_asked_for_where_it_is_added(eta, expected):
    asked = []

    def noise(k):
        asked.append(k)
        return draw(seed=k)

    decode(gaussian(COSINE), draw(), path(COSINE, 5), eta=eta, noise=noise)
    assert asked == expected  # never for the step to place 0, which has level 1


def test_a_denoising_step_goes_up():
    with pytest.raises(ValueError, match="goes to a higher level, got 0.5 -> 0.4"):
        sigma_of(0.5, 0.4, 1.0)


# --- DDIM up ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_encode_is_ddim_inversion(spacing):
    """Noise prediction only: for the others diffusers reads the network's answer at the level it comes from, we at the
    one it is asked for."""
    scheduler, along = theirs("DDIMInverseScheduler", spacing=spacing)
    denoise = denoiser(scheduler.alphas_cumprod, "epsilon")
    expected = x0 = draw(seed=4)
    found = encode(denoise, x0, along)
    assert len(found) == along.n + 1 and found[0] is x0
    for k, t in enumerate(scheduler.timesteps.tolist(), 1):
        expected = scheduler.step(answer(expected, t), t, expected).prev_sample
        near(found[k], expected, 1e-5 if k < 20 else 1e-4)
        expected = found[k]
    near(encode(denoise, x0, along, stop=3)[-1], found[3])


@pytest.mark.parametrize(
    ("level", "spacing", "limit"),
    [(LINEAR, "leading", 1e-3), (LINEAR, "trailing", 1e-3), (COSINE, "leading", 1e-3), (COSINE, "trailing", 3e-3)],
)
def test_fixed_point_iterations_make_the_inverse_exact(level, spacing, limit):
    """RMSE at n=50, measured: 2e-2 to 4e-2 without, 3e-5 to 2e-4 with three iterations (methods/counterfactual.md,
    table 7.3).

    The last place of the cosine schedule keeps 2e-9 of the signal: a trailing path pays for that with 2e-3.
    """
    denoise, images = mixture(level)
    along = path(level, 50, spacing)

    def rmse(fixed_point):
        return float(
            (decode(denoise, encode(denoise, images, along, fixed_point=fixed_point)[-1], along) - images)
            .square()
            .mean()
            .sqrt()
        )

    errors = [rmse(0), rmse(1), rmse(3)]
    assert errors[2] < limit and errors[2] < errors[1] < errors[0]


def test_a_partial_encoding_decodes_from_where_it_stopped():
    denoise, images = mixture(COSINE)
    along = path(COSINE, 50)
    x = encode(denoise, images, along, stop=20, fixed_point=8)
    torch.testing.assert_close(decode(denoise, x[20], along, start=20), images, atol=1e-6, rtol=0)


# --- closed forms -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 50])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_single_image_as_data_is_found_in_any_number_of_steps(n, eta):
    x, along = draw(dtype=torch.float64), path(COSINE, n)
    found = decode(gaussian(COSINE, 0.7, 0.0), x, along, eta=eta, noise=lambda k: draw(seed=k, dtype=torch.float64))
    torch.testing.assert_close(found, torch.full_like(x, 0.7))


def transfer(along, eta, mean=0.3, sigma=0.2):
    """Factor of the deterministic part and variance of the noise that DDIM makes of x - sqrt(level) mean on Gaussian
    data."""
    factor, variance = 1.0, 0.0
    for k in range(along.n, 0, -1):
        a, b = along.levels[k], along.levels[k - 1]
        added = eta**2 * (1 - b) / (1 - a) * (1 - a / b)
        step = (math.sqrt(b * a) * sigma**2 + math.sqrt((1 - b - added) * (1 - a))) / (a * sigma**2 + 1 - a)
        factor, variance = factor * step, variance * step**2 + added
    return factor, variance


@pytest.mark.parametrize("level", [LINEAR, COSINE])
def test_gaussian_data_follow_the_closed_form(level):
    along, x = path(level, 20), draw(dtype=torch.float64)
    factor, _ = transfer(along, 0.0)
    expected = 0.3 + factor * (x - math.sqrt(along.levels[-1]) * 0.3)
    torch.testing.assert_close(decode(gaussian(level), x, along), expected)
    # the ODE multiplies by the deviation of the data
    ends = [transfer(path(level, n), 0.0)[0] for n in (20, 100, 1000)]
    errors = [abs(end - 0.2 / math.sqrt(1 - 0.96 * float(level[-1]))) for end in ends]
    assert errors[2] < 2e-3 and errors == sorted(errors, reverse=True)


def test_ancestral_sampling_has_the_data_s_mean_and_variance():
    """10000 draws of one number: standard errors are 0.002 for the mean and 1 % for the variance; four of them are
    allowed."""
    along, rng = path(COSINE, 50), torch.Generator().manual_seed(0)

    def noise(_):
        return torch.randn(10000, generator=rng, dtype=torch.float64)

    found = decode(gaussian(COSINE), noise(0), along, eta=1.0, noise=noise)
    factor, variance = transfer(along, 1.0)
    assert float(found.mean()) == pytest.approx(0.3, abs=0.008)
    assert float(found.var()) == pytest.approx(factor**2 + variance, rel=0.06)
    factor, variance = transfer(path(COSINE, 1000), 1.0)
    assert factor**2 + variance == pytest.approx(0.2**2, rel=0.03)


# --- ancestral steps ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [LINEAR, COSINE])
def test_full_ddim_with_noise_is_ddpm(level):
    along = path(level, 1000)
    x, x0, zero = draw(seed=1, dtype=torch.float64), draw(seed=2, dtype=torch.float64), draw(dtype=torch.float64) * 0
    for k in range(2, 1001):
        start, end = along.levels[k], along.levels[k - 1]
        mean, variance = posterior(x, x0, start, end)
        assert sigma_of(start, end, 1.0) ** 2 == pytest.approx(variance, rel=1e-9)
        if k % 100 in (0, 2):
            eps = (x - math.sqrt(start) * x0) / math.sqrt(1 - start)
            one = Path((k - 1,), (end, start))
            torch.testing.assert_close(
                decode(lambda *_, eps=eps: (x0, eps), x, one, eta=1.0, noise=lambda _: zero), mean, rtol=1e-9, atol=1e-9
            )


@pytest.mark.parametrize("n", [1000, 50])
def test_posterior_is_that_of_diffusers(n):
    """Its levels in float64, since it takes 1 - ratio of neighbours; timestep 0 excluded, where it clamps the
    variance."""
    scheduler = diffusers.DDPMScheduler(
        trained_betas=betas("linear", 1000).float().numpy(),
        variance_type="fixed_small",
        clip_sample=False,
        prediction_type="sample",
    )
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    along = path(scheduler.alphas_cumprod, n, "leading")
    for k in (n, n - 1, n // 2, 3, 2):
        x, x0 = draw(seed=1), draw(seed=2)
        given = scheduler.step(x0, along.timesteps[k - 1], x, generator=torch.Generator().manual_seed(k)).prev_sample
        mean, variance = posterior(x, x0, along.levels[k], along.levels[k - 1])
        near(mean + math.sqrt(variance) * draw(seed=k), given, 2e-5)


# --- few-step solvers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("level", "few"), [(LINEAR, 0.3), (COSINE, 0.1)], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", list(SOLVERS))
def test_solvers_reach_the_data_in_few_steps(name, level, few, prediction):
    """Gaussian data N(0.3, 0.2^2), which the ODE reaches as 0.3 + 0.2 x. Deviations after 20 steps: within 10 %
    (cosine) and 30 % (linear) of 0.2, where DDIM is off by 16 and 30 %, DDPM by 24 and 36 %; after 100 steps within 3
    %."""
    beta = 1 - level / torch.cat([torch.ones(1, dtype=level.dtype), level[:-1]])
    for n, limit in ((20, few), (100, 0.03)):
        scheduler, x = solver(name, beta, n, prediction), draw(64)
        assert len(scheduler.timesteps) == n and scheduler.timesteps[0] == 999 and scheduler.timesteps.diff().max() < 0
        start = x
        for t in scheduler.timesteps.tolist():
            x0, eps = gaussian(level)(x, t)
            a = float(level[t])
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


# --- in-painting --------------------------------------------------------------------------------------------------


def test_known_pixels_are_put_back_at_every_place():
    along, places, image = path(COSINE, 6), [], draw(seed=1)
    keep = (torch.arange(8) < 3).expand(2, 1, 8, 8).float()

    def known(k):
        places.append(k)
        return image + k

    def denoise(x, t):
        assert torch.equal(x * keep, (image + (along.timesteps.index(t) + 1)) * keep)
        return gaussian(COSINE)(x, t)

    found = inpaint(denoise, draw(), along, known, keep, 0.0, lambda: pytest.fail("eta=0 adds no noise"))
    assert places == [6, 5, 4, 3, 2, 1, 0] and torch.equal(found * keep, image * keep)
    assert torch.equal(inpaint(gaussian(COSINE), draw(), along, known, torch.ones(2, 1, 8, 8), 0.4, draw), image)


def test_nothing_known_is_plain_decoding():
    along, noises = path(COSINE, 6), iter(range(100))
    found = inpaint(
        gaussian(COSINE),
        draw(),
        along,
        lambda k: torch.zeros(2, *SHAPE),
        torch.zeros(2, 1, 8, 8),
        0.4,
        lambda: draw(seed=next(noises)),
    )
    assert torch.equal(found, decode(gaussian(COSINE), draw(), along, eta=0.4, noise=lambda k: draw(seed=6 - k)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((4, 1, 1), [4, 3, 2, 1, 0]),
        ((4, 1, 2), [4, 3, 4, 3, 2, 3, 2, 1, 2, 1, 0]),
        ((5, 2, 2), [5, 4, 3, 4, 5, 4, 3, 2, 1, 2, 3, 2, 1, 0]),
    ],
)
def test_resampling_visits_repaint_s_places(options, expected):
    """RePaint's get_schedule_jump by hand; its timestep t, which counts from 0 and ends at -1, is our place t + 1."""
    assert resampled_places(*options) == expected
