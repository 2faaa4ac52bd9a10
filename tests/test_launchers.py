"""The same grid through Hydra's launchers gives the same scores, and shared artefacts are made once."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.running import all_scores, command

GRID = ("sampler=black,gray", "seed=0,1", "metrics=none")
LAUNCHERS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", ["hydra.launcher.n_jobs=2"]),
    "submitit_local": ("hydra_plugins.hydra_submitit_launcher", []),
    "ray": ("hydra_plugins.hydra_ray_launcher", ["+hydra.launcher.ray.init.num_cpus=2"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_give_the_same_scores(tmp_path, launcher):
    plugin, options = LAUNCHERS[launcher]
    if find_spec("hydra_plugins") is None or find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    assert command(tmp_path / "basic", "-m", *GRID).returncode == 0
    output = command(tmp_path / launcher, "-m", f"hydra/launcher={launcher}", *GRID, *options)
    assert output.returncode == 0, output.stderr
    assert all_scores(tmp_path / launcher) == all_scores(tmp_path / "basic") != {}
    shards = [
        sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.safetensors")) for n in (launcher, "basic")
    ]
    assert shards[0] == shards[1]
    assert not list((tmp_path / launcher).rglob("*.tmp"))
