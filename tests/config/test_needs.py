"""What a component needs, from its config and from the built object."""

import pytest

from pomelo_lab.config.build import build
from pomelo_lab.config.needs import needs_of

BLACK, MEAN = ({"_target_": f"pomelo_lab.sampler.{name}Sampler"} for name in ("black.Black", "mean.Mean"))
PATCH = {"_target_": "pomelo_lab.explainer.sliding_patch.SlidingPatchExplainer"}
DELETION = {"_target_": "pomelo_lab.metric.fidelity.Deletion"}


@pytest.mark.parametrize(("filler", "needs"), [(BLACK, set()), (MEAN, {"segments"})])
def test_a_component_needs_what_those_inside_it_need(filler, needs):
    given, own = {**PATCH, "sampler": filler}, {**DELETION, "filler": filler}
    assert needs_of(given, {}) == build(given).needs == needs
    assert needs_of(own, {}) == build(own).needs == {"explanation", "classifier"} | needs


def test_the_job_s_sampler_stands_where_a_node_leaves_it_out():
    assert needs_of(PATCH, {"sampler": MEAN}) == {"segments"} and needs_of(PATCH, {"sampler": BLACK}) == set()
