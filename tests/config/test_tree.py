"""Walks of a config: every component with its key, changed copies, values and overrides by dotted keys."""

import pytest

from pomelo_lab.config.tree import leaves, map_nodes, nodes, override, value_at

BLUR = {"_target_": "Blur", "sigma": 1.0}
TREE = {
    "sampler": {"_target_": "Inpaint", "filler": BLUR, "sizes": [1, 2]},
    "metrics": {"deletion": {"_target_": "Deletion", "filler": BLUR}},
    "seed": 0,
}


def test_every_component_is_listed_with_its_key_outer_ones_first():
    assert [(key, node["_target_"]) for key, node in nodes(TREE)] == [
        ("sampler", "Inpaint"),
        ("sampler.filler", "Blur"),
        ("metrics.deletion", "Deletion"),
        ("metrics.deletion.filler", "Blur"),
    ]
    assert [key for key, _ in nodes(TREE["metrics"], "metrics")] == ["metrics.deletion", "metrics.deletion.filler"]


def test_plain_values_are_listed_with_their_keys():
    assert list(leaves({"sampler": {"name": "blur", "sizes": [1, 2]}, "metrics": {}, "seed": 0})) == [
        ("sampler.name", "blur"),
        ("sampler.sizes", [1, 2]),
        ("seed", 0),
    ]
    assert list(leaves(BLUR, "filler")) == [("filler._target_", "Blur"), ("filler.sigma", 1.0)]


def test_a_changed_copy_has_inner_components_changed_first_and_leaves_the_original():
    names = map_nodes({**TREE, "list": [BLUR]}, lambda node: f"{node['_target_']}({node.get('filler', '')})")
    assert names == {
        "sampler": "Inpaint(Blur())",
        "metrics": {"deletion": "Deletion(Blur())"},
        "seed": 0,
        "list": ["Blur()"],
    }
    assert map_nodes(TREE, lambda node: node) == TREE and TREE["sampler"]["filler"] is BLUR


def test_values_and_overrides_by_dotted_keys():
    changed = override(TREE, {"sampler.filler.sigma": 2.0})
    assert value_at(changed, "sampler.filler.sigma") == 2.0 and value_at(TREE, "sampler.filler.sigma") == 1.0
    assert value_at(TREE, "sampler.nothing.sigma") is None
    with pytest.raises(KeyError, match="'radius' does not exist among"):
        override(TREE, {"sampler.filler.radius": 2.0})
