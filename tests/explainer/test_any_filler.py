"""Every explainer that removes pixels runs with every filler, by naming both: nothing else has to be written."""

import inspect
from pathlib import Path

import pytest
import yaml

from pomelo_lab.config.check import ConfigError
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.signature import locate
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.explainer.removal import RemovalExplainer
from pomelo_lab.sampler.base import Filler
from tests import running


def named(group, *bases):
    """Config names of a group whose class extends one of `bases`."""
    results = {}
    for path in sorted(Path(CONF, group).glob("*.yaml")):
        target = (yaml.safe_load(path.read_text()) or {}).get("_target_")
        if target and inspect.isclass(locate(target)) and issubclass(locate(target), bases):
            results[path.stem] = path
    return results


EXPLAINERS, FILLERS = named("explainer", RemovalExplainer, LimeExplainer), named("sampler", Filler)
NEURAL = [name for name, path in FILLERS.items() if "/generator@" in path.read_text()]


def test_the_grid_is_complete():
    assert set(EXPLAINERS) >= {"lime", "sliding_patch", "rise", "meaningful_perturbation", "mp2", "fido"}
    assert (
        set(FILLERS) >= {"black", "gray", "mean", "mean_dataset", "blur", "noise", "inpaint", "inpaint_ddim"}
        and len(NEURAL) >= 2
    )


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_explainer_and_filler(explainer, filler, tmp_path):
    untrained = ["generator.weights=null"] if filler in NEURAL else []
    # which returns kept pixels as they are
    shown = ["explainer.probe=blocks"] if explainer == "mp2" and filler == "inpaint_ddim" else []
    config = running.config(
        tmp_path, f"explainer={explainer}", f"sampler={filler}", "metrics=none", "n_images=2", *untrained, *shown
    )
    explanation = Job(config, Store(tmp_path)).explanation(0)
    assert explanation.attribution.shape == (2, 16, 16) and explanation.attribution.isfinite().all()


@pytest.mark.parametrize("explainer", [name for name in EXPLAINERS if name != "lime"])
def test_full_input_samplers_are_refused(explainer, tmp_path):
    with pytest.raises(
        ConfigError, match="explainer.sampler needs a Filler, the job has FlowSampler .*can fill what a mask removed"
    ):
        running.config(tmp_path, f"explainer={explainer}", "sampler=flow", "metrics=none")
    with pytest.raises(ConfigError, match="explainer.sampler"):
        running.config(tmp_path, f"explainer={explainer}", "sampler=none", "metrics=none")
