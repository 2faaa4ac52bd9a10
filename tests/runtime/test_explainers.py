"""Every explainer gives the same explanations under onnxruntime as under torch."""

import pytest
import torch

from pomelo_lab.conformance.explainer import explained
from pomelo_lab.runtime.chosen import watch_runtimes
from tests.contract.trials import names, trial
from tests.every import SMALLER

CLOSE = 1e-5  # of a map's range, and of the range of pixels; segments that lie further apart keep their ranks


@pytest.mark.parametrize("name", names("explainer"))
def test_an_explanation_is_the_network_s(name):
    """Searches of many steps (GCD, BB-LIG, the flow, DiME, ACE) too: a step that went elsewhere would show."""
    pytest.importorskip("onnxruntime")
    made = {}
    for runtime in ("eager", "onnxruntime"):
        with watch_runtimes() as told:
            made[runtime] = explained(trial("explainer", name, *SMALLER.get(name, ()), f"runtime={runtime}"))
    assert {it["runtime"] for it in told.values()} == {"onnxruntime"}, told
    eager, other = made.values()
    if eager.attribution is not None:
        span = eager.attribution.amax() - eager.attribution.amin()
        assert (eager.attribution - other.attribution).abs().max() <= CLOSE * span
    if eager.counterfactual is not None:
        assert (eager.counterfactual - other.counterfactual).abs().max() <= CLOSE
        for key, value in eager.extra.items():
            assert torch.allclose(value.double(), other.extra[key].double(), rtol=1e-3, atol=1e-5, equal_nan=True), key
