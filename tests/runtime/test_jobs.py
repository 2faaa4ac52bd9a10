"""A job is the same job under every runtime."""

import json

import pytest

from pomelo_lab.config.check import ConfigError
from pomelo_lab.engine import components
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import expect_rows, plan_steps
from pomelo_lab.engine.store import Store
from pomelo_lab.run import run
from tests.running import config, scores


def test_scores_agree_and_the_job_is_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    folders = {
        name: run(config(tmp_path / name, f"runtime={name}", "explainer.n_samples=24"))
        for name in ("eager", "onnxruntime", "frozen")
    }
    assert len({folder.name for folder in folders.values()}) == 1, "one fingerprint"
    right = scores(folders["eager"])
    for name, folder in folders.items():
        stages = json.loads((folder / "status.json").read_text())["stages"]
        told = {key: it for stage in stages.values() for key, it in stage.get("runtimes", {}).items()}
        assert {it["runtime"] for it in told.values()} == (set() if name == "eager" else {name})
        for key, column in scores(folder).items():
            if isinstance(column[0], float):
                assert column == pytest.approx(right[key], abs=1e-5), (name, key)


def test_maps_agree_to_a_share_of_their_range(tmp_path):
    pytest.importorskip("onnxruntime")
    from safetensors.torch import load_file

    maps = {}
    for name in ("eager", "onnxruntime"):
        run(config(tmp_path / name, f"runtime={name}"))
        [file] = (tmp_path / name / "explanation").glob("*/*.safetensors")
        maps[name] = load_file(file)["attribution"]
    span = maps["eager"].amax() - maps["eager"].amin()
    assert (maps["eager"] - maps["onnxruntime"]).abs().max() <= 1e-5 * span


def test_a_deterministic_job_is_eager_with_a_fixed_batch(tmp_path):
    parts = Components(config(tmp_path, "deterministic=true", "runtime=onnxruntime", "batch_size=auto"))
    assert parts.runtime == "eager" and isinstance(parts.batch_size, int)
    assert parts.classifier._choice is None
    assert Components(config(tmp_path)).runtime == "auto"


def test_an_unknown_runtime_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="runtime must be auto, eager, frozen, onnxruntime, compiled, graph, incremental, got 'fast'"
    ):
        config(tmp_path, "runtime=fast")


def test_networks_learn_what_a_job_has_planned(tmp_path, monkeypatch):
    """The sum over the plan's stages that take no gradients; later jobs with the same network count as well."""
    settings = config(tmp_path, "runtime=auto", "explainer.n_samples=24")
    job = Job(settings, Store(tmp_path))
    network = job.parts.classifier
    asked = sum(ask.n for step in plan_steps(job) for ask in step.asks if ask.network is network and not ask.backward)
    expect_rows(job)
    assert network._choice.planned == asked > 24
    expect_rows(job, share=2)
    assert network._choice.planned == asked // 2
    monkeypatch.setattr(components, "_later", [])
    components.release([settings, settings])
    expect_rows(job)
    assert network._choice.planned == 3 * asked
    run(settings)
    assert network._choice.planned <= 3 * asked, "what was asked is counted"
