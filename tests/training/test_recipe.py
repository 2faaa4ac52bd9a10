"""Learning rates are a pure function of the step; the default yaml is the constructor's defaults."""

import pytest
import yaml

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.training.recipe import Recipe


def test_default_yaml_is_the_default():
    with open(f"{CONF}/recipe/default.yaml") as file:
        node = yaml.safe_load(file)
    assert canonical(node) == canonical({"_target_": node["_target_"]})


def test_cosine_rises_and_falls():
    factors = [Recipe(warmup=0.2).lr_factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.04) and factors[20] == 1.0 and factors[100] == pytest.approx(0.0)
    assert factors[:21] == sorted(factors[:21]) and factors[20:] == sorted(factors[20:], reverse=True)


def test_small_data_sets_get_more_passes():
    assert Recipe(epochs=8, min_steps=600).passes(9) == 67 and Recipe(epochs=8, min_steps=600).passes(156) == 8
