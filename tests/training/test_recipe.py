"""Learning rates are a pure function of the step; the default yaml is the constructor's defaults."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import pomelo_lab.train  # noqa: F401 (registers the schema of the command)
from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.training.recipe import Recipe

RECIPES = sorted(path.stem for path in Path(CONF, "recipe").glob("*.yaml"))


def test_default_yaml_is_the_default():
    node = file_content("recipe/default")
    assert canonical(node) == canonical({"_target_": node["_target_"]})


def test_a_recipe_read_alone_is_the_one_that_hydra_composes():
    with initialize_config_dir(CONF, version_base="1.3"):
        for name in RECIPES:
            composed = compose("train", overrides=[f"recipe={name}"])
            assert file_content(f"recipe/{name}") == OmegaConf.to_container(composed.recipe), name


def test_cosine_rises_and_falls():
    factors = [Recipe(warmup=0.2).lr_factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(0.04) and factors[20] == 1.0 and factors[100] == pytest.approx(0.0)
    assert factors[:21] == sorted(factors[:21]) and factors[20:] == sorted(factors[20:], reverse=True)


def test_small_data_sets_get_more_passes():
    assert Recipe(epochs=8, min_steps=600).passes(9) == 67 and Recipe(epochs=8, min_steps=600).passes(156) == 8


def test_precision_follows_the_hardware_and_the_identity_does_not(monkeypatch):
    node, old = ({"_target_": "pomelo_lab.training.recipe.Recipe", "precision": p} for p in ("auto", "bf16-mixed"))
    for has, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr("pomelo_lab.training.recipe.has_bfloat16", lambda _, has=has: has)
        assert Recipe(precision="auto").arithmetic(torch.device("cpu")) == expected
        assert canonical(Recipe.identity(node)) == canonical(old)  # weights that were trained before stay known
        assert Recipe(precision="16-mixed").arithmetic(torch.device("cpu")) == "16-mixed"


def test_no_recipe_asks_for_instructions_that_a_processor_may_not_have():
    names = {name: file_content(f"recipe/{name}")["precision"] for name in RECIPES}
    assert set(names.values()) == {"auto", "32-true"} and names["ddpm_small"] == "auto"


def test_a_processor_without_bfloat16_is_known():
    """Five times slower than float32 is what emulation costs here; the variables simulate such a processor."""
    code = "import torch; from pomelo_lab.devices import has_bfloat16; print(has_bfloat16(torch.device('cpu')))"
    simulated = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=simulated, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )
