import numpy as np
import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.hsic import HSICExplainer
from tests.explainer.removing import black, explained, same_alone_and_in_any_batch
from tests.tiny import TinyLinear, tiny_batch


def explainer(**options):
    return HSICExplainer(**{"sampler": black(), "n_cells": 4, "n_designs": 64, **options})


@pytest.mark.parametrize("width", ["median", "median_pairwise"])
def test_closed_form_is_the_double_sum_over_centred_kernels(width):
    """Sum of (H K H) o (H L H) / n with K = 1.5 - (x - x')^2, the Gaussian L and H = I - 1/n, as xplique has it."""
    rng = np.random.default_rng(0)
    bits, answer = rng.integers(0, 2, (40, 5)).astype(float), rng.random(40)
    apart = answer[:, None] - answer
    sigma = (
        np.sort(answer)[19]
        if width == "median"
        else np.sort(np.abs(apart[np.triu_indices(40, 1)]))[(40 * 39 // 2 - 1) // 2]
    )
    centring = np.eye(40) - 1 / 40
    kernel = centring @ np.exp(-(apart**2) / (2 * sigma**2)) @ centring
    expected = [np.sum((centring @ (1.5 - (x[:, None] - x) ** 2) @ centring) * kernel) / 40 for x in bits.T]
    dependences = explainer(width=width).dependence(torch.from_numpy(bits), torch.from_numpy(answer))
    np.testing.assert_allclose(dependences.numpy(), expected, rtol=0, atol=1e-10)


def test_designs_are_balanced_nearly_orthogonal_and_each_image_s_own():
    masks = explainer(n_cells=7, n_designs=1500).masks(["a", "b"], RandomStreams(0))
    assert set(masks.unique().tolist()) == {0, 1} and not torch.equal(masks[0], masks[1])
    assert float((masks.mean(1) - 0.5).abs().max()) < 0.02
    alike = torch.corrcoef(masks[0].T) - torch.eye(49)
    assert float(alike.abs().max()) < 0.05


def test_the_one_cell_that_matters_wins_and_independent_cells_are_near_zero():
    weight = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    weight[0, :, 2:4, 4:6] = 1.0  # cell (1, 2) of 4x4
    explanation, box = explained(
        explainer(n_designs=256), classifier=TinyLinear(weight=weight), target=torch.zeros(3, dtype=torch.long)
    )
    cells = explanation.extra["cells"]
    assert (cells.argmax(1) == 6).all() and box.queries == 3 * 256
    others = cells[:, torch.arange(16) != 6]
    assert float((others.amax(1) / cells.amax(1)).max()) < 0.1 and float(cells.min()) > -1e-6
    assert torch.equal(explanation.attribution.flatten(1).argmax(1) // 8 // 2, torch.ones(3, dtype=torch.long))


def test_answers_that_are_zero_or_constant_give_zero():
    explanation, _ = explained(explainer(), classifier=TinyLinear(weight=torch.zeros(3, 3, 8, 8)))
    assert explanation.attribution.isfinite().all() and float(explanation.attribution.abs().max()) < 1e-9
    assert explainer().dependence(torch.ones(8, 3).double(), torch.zeros(8).double()).abs().max() == 0


def test_alone_and_in_any_batch():
    same_alone_and_in_any_batch(explainer)


def test_more_cells_than_pixels():
    with pytest.raises(ValueError, match=r"n_cells must be <= 8.*got 9"):
        explained(explainer(n_cells=9), tiny_batch(3))
