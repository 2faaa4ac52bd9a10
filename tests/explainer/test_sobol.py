import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.sobol import SobolExplainer
from tests.explainer.removing import black, explained, same_alone_and_in_any_batch
from tests.tiny import TinyLinear, tiny_batch


def explainer(**options):
    return SobolExplainer(**{"sampler": black(), "n_cells": 2, "n_designs": 32, **options})


def test_design_changes_one_cell_at_a_time():
    masks = explainer().masks(["a"], RandomStreams(0))[0].view(6, 32, 4)
    a, b = masks[:2]
    for cell in range(4):
        mixed = masks[2 + cell]
        others = torch.arange(4) != cell
        assert torch.equal(mixed[:, cell], b[:, cell]) and torch.equal(mixed[:, others], a[:, others])


def test_indices_of_a_linear_function_are_its_shares_of_the_variance():
    """f = sum w_i u_i with independent uniform u: total index w_i^2 / sum w^2."""
    weight = torch.tensor([4.0, 2.0, 1.0, 0.0], dtype=torch.float64)
    made = explainer(n_designs=4096)
    masks = made.masks(["a", "b"], RandomStreams(0)).double()
    sobol_indices = made.indices(masks, masks @ weight)
    torch.testing.assert_close(sobol_indices, (weight**2 / weight.square().sum()).expand(2, 4), atol=0.01, rtol=0)


def test_interactions_count_for_every_cell_that_takes_part():
    """f = (u_0 - 1/2) (u_1 - 1/2): no first-order effects, total indices 1 and 1."""
    made = explainer(n_designs=4096)
    masks = made.masks(["a"], RandomStreams(0)).double()
    sobol_indices = made.indices(masks, (masks[..., 0] - 0.5) * (masks[..., 1] - 0.5))[0]
    torch.testing.assert_close(
        sobol_indices, torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64), atol=0.03, rtol=0
    )


def test_the_cell_that_matters_and_the_queries():
    weight = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    weight[0, :, :4, 4:] = 0.1
    explanation, box = explained(
        explainer(), classifier=TinyLinear(weight=weight), target=torch.zeros(3, dtype=torch.long)
    )
    assert (explanation.extra["cells"].argmax(1) == 1).all()
    assert box.queries == 3 * 32 * 6 == 3 * explainer().cost((3, 8, 8)).queries


def test_constant_answers_and_designs_that_are_no_power_of_two():
    explanation, _ = explained(explainer(), tiny_batch(3), classifier=TinyLinear(weight=torch.zeros(3, 3, 8, 8)))
    assert torch.equal(explanation.attribution, torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="n_designs must be a power of two, got 33"):
        explainer(n_designs=33)


def test_alone_and_in_any_batch():
    same_alone_and_in_any_batch(explainer)
