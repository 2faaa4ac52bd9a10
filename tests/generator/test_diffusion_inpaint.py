"""In-painting by a diffusion model: what is known is put back, and nothing else changes decoding."""

import pytest
import torch

from pomelo_lab.generator.diffusion import decode, inpaint, plan_resampling, respace
from tests.generator.denoisers import COSINE, draw, gaussian

STRAIGHT = plan_resampling(6)


def test_known_pixels_are_put_back_at_every_step():
    schedule, visited, image = respace(COSINE, 6), [], draw(seed=1)
    keep = (torch.arange(8) < 3).expand(2, 1, 8, 8).float()

    def restore(x, k):
        visited.append(k)
        return torch.lerp(x, image + k, keep)

    def denoise(x, t):
        assert torch.equal(x * keep, (image + (schedule.timesteps.index(t) + 1)) * keep)
        return gaussian(COSINE)(x, t)

    normals = iter([draw()])  # the start alone: eta=0 adds no noise
    images = inpaint(denoise, schedule, STRAIGHT, restore, lambda: next(normals), 0.0)
    assert visited == STRAIGHT and torch.equal(images * keep, image * keep)
    images = inpaint(gaussian(COSINE), schedule, STRAIGHT, lambda _, k: image + k, draw, 0.4)
    assert torch.equal(images, image)


def test_nothing_known_is_plain_decoding():
    schedule, seeds = respace(COSINE, 6), iter(range(100))
    images = inpaint(gaussian(COSINE), schedule, STRAIGHT, lambda x, _: x, lambda: draw(seed=next(seeds)), 0.4)
    assert torch.equal(images, decode(gaussian(COSINE), draw(), schedule, eta=0.4, noise=lambda k: draw(seed=7 - k)))


# --- RePaint's order ----------------------------------------------------------------------------------------------


def repaint_times(total, jump_length, jump_n_sample):
    """RePaint's get_schedule_jump in its own terms: timesteps total-1 .. 0, and -1 for the clean image."""
    jumps = {t: jump_n_sample - 1 for t in range(0, total - jump_length, jump_length)}
    t, times = total, []
    while t >= 1:
        t -= 1
        times.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(jump_length):
                t += 1
                times.append(t)
    return [*times, -1]


def test_without_resampling_steps_go_straight_down():
    for n, jump_length in ((1, 1), (7, 1), (7, 3), (3, 9)):
        assert plan_resampling(n, jump_length, 1) == list(range(n, -1, -1))


@pytest.mark.parametrize(
    ("n", "jump_length", "n_resample"),
    [(250, 10, 10), (100, 10, 10), (50, 1, 5), (9, 4, 3), (10, 5, 2), (3, 5, 4), (1, 1, 2)],
)
def test_resampling_visits_the_steps_of_repaint(n, jump_length, n_resample):
    assert plan_resampling(n, jump_length, n_resample) == [t + 1 for t in repaint_times(n, jump_length, n_resample)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((4, 1, 1), [4, 3, 2, 1, 0]),
        ((4, 1, 2), [4, 3, 4, 3, 2, 3, 2, 1, 2, 1, 0]),
        ((5, 2, 2), [5, 4, 3, 4, 5, 4, 3, 2, 1, 2, 3, 2, 1, 0]),
    ],
)
def test_resampling_visits_repaint_s_steps(options, expected):
    """RePaint's get_schedule_jump by hand; its timestep t, which counts from 0 and ends at -1, is our step t + 1."""
    assert plan_resampling(*options) == expected
