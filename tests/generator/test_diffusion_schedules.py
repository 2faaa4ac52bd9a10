"""Noise schedules and respaced paths: diffusers' numbers."""

import pytest
import torch

from pomelo_lab.generator.diffusion import betas, respace
from tests.generator.test_diffusion import COSINE, theirs

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("total", [1000, 100])
def test_betas_are_those_of_diffusers(total):
    cosine = diffusers.DDPMScheduler(num_train_timesteps=total, beta_schedule="squaredcos_cap_v2").betas
    linear = diffusers.DDPMScheduler(num_train_timesteps=total, beta_start=0.1 / total, beta_end=20 / total).betas
    torch.testing.assert_close(betas("cosine", total).float(), cosine, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(betas("linear", total).float(), linear, rtol=1e-6, atol=1e-7)
    assert betas("cosine", total).dtype == torch.float64


def test_the_last_level_is_near_zero_whatever_t():
    for schedule in ("linear", "cosine"):
        for total in (20, 100, 1000):
            assert float((1 - betas(schedule, total)).prod()) < 1e-4


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("n", [1, 10, 50, 125, 250, 1000])
def test_paths_are_those_of_diffusers(spacing, n):
    scheduler, schedule = theirs("DDIMScheduler", spacing=spacing, n=n)
    assert list(schedule.timesteps) == scheduler.timesteps.tolist()[::-1]
    assert schedule.n_steps == n and schedule.alphas_cumprod[0] == 1.0
    assert schedule.alphas_cumprod[1:] == tuple(scheduler.alphas_cumprod.double()[list(schedule.timesteps)].tolist())


@pytest.mark.parametrize("n", [2, 7, 50, 333, 999, 1000])
def test_ends_of_paths(n):
    trailing, leading, linspace = (
        respace(COSINE, n, spacing).timesteps for spacing in ("trailing", "leading", "linspace")
    )
    assert trailing[-1] == 999 and leading[0] == 0 and (linspace[0], linspace[-1]) == (0, 999)
    assert all(list(chosen) == sorted(set(chosen)) and len(chosen) == n for chosen in (trailing, leading, linspace))


@pytest.mark.parametrize("n", [0, -1, 101])
def test_steps_out_of_range_are_refused(n):
    with pytest.raises(ValueError, match=rf"n_steps must be in 1\.\.100, .*got {n}"):
        respace(COSINE[:100], n)
