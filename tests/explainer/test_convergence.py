import math

import pytest
import torch

from pomelo_lab.explainer.convergence import record, still_moving


def test_a_straight_descent_is_moving_and_an_exponential_one_is_not():
    steps = torch.arange(100, dtype=torch.float64)
    straight, exponential = -steps, torch.exp(-5 * steps / 100)
    moving = still_moving(torch.stack([straight, exponential]))
    mean = [sum(math.exp(-5 * i / 100) for i in range(a, a + 10)) / 10 for a in (0, 80, 90)]
    torch.testing.assert_close(
        moving, torch.tensor([1 / 9, (mean[1] - mean[2]) / (mean[0] - mean[2])], dtype=torch.float64)
    )


def test_scale_and_offset_do_not_matter_and_rising_counts_as_moving():
    loss = torch.rand(3, 57, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    torch.testing.assert_close(still_moving(loss), still_moving(5 - 3 * loss))
    assert (still_moving(loss) > 0.02).all()


def test_what_never_changes_has_arrived_and_nan_is_not_hidden():
    loss = torch.stack([torch.full((20,), 2.0), torch.full((20,), torch.nan)])
    moving = still_moving(loss)
    assert moving[0] == 0 and moving[1].isnan()


def test_noise_around_a_level_cancels_in_the_means():
    draws = torch.randn(200, 1000, generator=torch.Generator().manual_seed(1))
    descent = 100 * torch.exp(-torch.arange(1000) / 50)
    assert still_moving(descent + draws).max() < 0.02


def test_a_record_holds_every_step_and_nothing_of_a_single_one():
    made = record(torch.tensor([[3.0, 2.0], [1.0, 1.0]]))
    assert made["loss"].tolist() == [[3, 2], [1, 1]] and made["moving"].tolist() == [1, 0]
    assert record(torch.ones(2, 1)) == {}
    with pytest.raises(ValueError, match="at least 2 steps"):
        still_moving(torch.ones(2, 1))
