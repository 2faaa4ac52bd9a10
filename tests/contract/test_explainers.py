"""What holds for every explainer that has a yaml; `pomelo_lab.conformance.explainer` says it."""

import pytest
import torch

from pomelo_lab.conformance.compare import ensure_same
from pomelo_lab.conformance.explainer import (
    CLOSE,
    does_not_depend_on_the_batch,
    explained,
    explained_in_batches,
    honours_its_access,
)
from pomelo_lab.types import Explanation
from tests.contract.trials import each, keep, trial
from tests.every import SMALLER

# their backwards pass operators of their own: hooks of the network see none
OWN_RULES = ("deep_lift", "guided_backprop")
# whose next step depends on the last: the same to the last bit
SEARCHES = ("flow_counterfactual", "gcd", "bb_lig", "dime", "ace")


def maps_of(explanation: Explanation, rows: list[int]) -> dict[str, torch.Tensor]:
    maps = {"attribution": explanation.attribution, "counterfactual": explanation.counterfactual}
    return {name: tensor[rows] for name, tensor in maps.items() if tensor is not None}


@each("explainer")
def test_every_explainer(name, rule):
    tried = trial("explainer", name, *SMALLER.get(name, ()))
    keep(rule, tried)
    if rule is honours_its_access:  # what is timed with a backward
        seen = set() if name in OWN_RULES else tried.component.differentiates
        assert tried.memory["through"] == seen | (tried.component.differentiates - {"classifier"})
    if rule is does_not_depend_on_the_batch and name in SEARCHES:
        ensure_same(
            maps_of(explained(tried), [2, 0]), maps_of(tried.memory["part [2, 0]"], [0, 1]), "one image at a time"
        )


@pytest.mark.parametrize("name", ["lime", "iba", "dime"])
def test_threads(name):
    tried = trial("explainer", name)
    whole, before = explained(tried), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = explained_in_batches(tried, tried.memory["case"], 64)
    finally:
        torch.set_num_threads(before)
    ensure_same(maps_of(whole, [0, 1, 2]), maps_of(again, [0, 1, 2]), "two threads", close=CLOSE)
