"""The memory of finished jobs knows a job while its config, weights and results are what they were."""

import os
import shutil

import pytest
from hydra import compose, initialize_config_dir

from pomelo_lab.config.check import resolved, validate_resolved
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.preset_data import Asked
from pomelo_lab.config.schema import register
from pomelo_lab.engine import finished
from pomelo_lab.run import run
from tests.running import TINY, command

NAMED = "classifier.weights=named.safetensors"


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))


def plain(outputs, *overrides):
    """The resolved config of a tiny job, before its check."""
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        return resolved(compose("run", overrides=[*TINY, f"paths.outputs={outputs}", *overrides]))


def question(outputs, *overrides):
    return finished.ask(plain(outputs, *overrides), Asked())


def finish(outputs, *overrides):
    """Runs a tiny job. Returns its score folder."""
    config = plain(outputs, *overrides)
    return run(validate_resolved(config), question=finished.ask(config, Asked()))


def save_network(path, outputs, seed):
    """Writes the weights of an untrained network of the tiny job's shape."""
    from safetensors.torch import save_file

    from pomelo_lab.engine.components import Components

    parts = Components(validate_resolved(plain(outputs, f"classifier.init_seed={seed}")))
    state = parts.classifier.network.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


def test_a_finished_job_is_known_until_a_value_changes(tmp_path):
    assert finished.find(question(tmp_path)) is None
    folder = finish(tmp_path)
    known = finished.find(question(tmp_path))
    assert known.folder == folder and known.config == validate_resolved(plain(tmp_path))
    for other in ("seed=1", "force=true", "dry_run=true", "sheet=2", "device=cuda", f"paths.outputs={tmp_path / 'b'}"):
        assert finished.find(question(tmp_path, other)) is None, other


@pytest.mark.parametrize(
    "pattern", ["score/*/*.parquet", "score/*/*.json", "score/*/*.png", "metric/*/*.safetensors", "explan*/*/*.safe*"]
)
def test_a_damaged_or_missing_result_is_not_known_and_made_again(pattern, tmp_path):
    finish(tmp_path)
    file = next(tmp_path.glob(pattern))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert finished.find(question(tmp_path)) is None
    file.unlink()
    assert finished.find(question(tmp_path)) is None
    finish(tmp_path)
    assert file.exists() and finished.find(question(tmp_path)) is not None


def test_results_that_were_removed_are_not_known(tmp_path):
    shutil.rmtree(finish(tmp_path))
    assert finished.find(question(tmp_path)) is None


def test_weights_are_known_by_their_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "out"
    save_network("named.safetensors", outputs, seed=1)
    folder = finish(outputs, NAMED)
    assert finished.find(question(outputs, NAMED)).folder == folder
    save_network("named.safetensors", outputs, seed=2)
    assert finished.find(question(outputs, NAMED)) is None
    assert finish(outputs, NAMED) != folder
    (tmp_path / "named.safetensors").unlink()
    assert finished.find(question(outputs, NAMED)) is None


def test_a_relative_name_of_weights_is_that_of_the_present_folder(tmp_path, monkeypatch):
    outputs, folders = tmp_path / "out", []
    for seed in (1, 2):
        here = tmp_path / str(seed)
        here.mkdir()
        monkeypatch.chdir(here)
        save_network("named.safetensors", outputs, seed)
        assert finished.find(question(outputs, NAMED)) is None
        folders.append(finish(outputs, NAMED))
        assert finished.find(question(outputs, NAMED)).folder == folders[-1]
    assert folders[0] != folders[1]


def test_an_environment_variable_is_read_again(tmp_path, monkeypatch):
    seed = "seed=${oc.env:SEED_OF_A_TEST}"
    monkeypatch.setenv("SEED_OF_A_TEST", "1")
    folder = finish(tmp_path, seed)
    assert finished.find(question(tmp_path, seed)).folder == folder
    monkeypatch.setenv("SEED_OF_A_TEST", "2")
    assert finished.find(question(tmp_path, seed)) is None


@pytest.mark.parametrize(
    "node",
    [
        {"explainer": {"_target_": "tests.engine.test_finished.Users"}},
        {"classifier": {"_target_": "pomelo_lab.classifier.callable.CallableClassifier", "function": "a:b"}},
        {"sampler": {"_target_": "pomelo_lab.sampler.callable.CallableSampler", "function": "a:b"}},
        {"dataset": {"_target_": "pomelo_lab.dataset.image_folder.ImageFolder", "root": "/data"}},
        {"metrics": {"a": {"_target_": "pomelo_lab.metric.distance.L2", "inner": [{"_target_": __name__ + ".Users"}]}}},
        {"device": "cuda"},
    ],
)
def test_jobs_whose_inputs_cannot_be_compared_are_not_remembered(node, tmp_path):
    config = validate_resolved(plain(tmp_path))
    assert finished.find_weights(config) == []
    assert finished.find_weights({**config, **node}) is None


class Users:
    """A component of a user."""


def test_weights_of_a_training_are_not_remembered(tmp_path):
    assert finished.find_weights({**plain(tmp_path, "classifier.weights=auto")}) is None


def test_a_preset_asks_about_the_keys_of_data_sets_that_were_typed():
    def asked(*keys, swept=()):
        return finished.ask({}, Asked(True, frozenset(keys), dict(swept)))

    assert asked("seed") == asked("sampler", "explainer.n_samples")
    assert len({str(asked(*keys)) for keys in ((), ("dataset",), ("dataset", "dataset.label"))}) == 3
    assert asked("dataset.label", swept={"dataset.label": "a"}) != asked("dataset.label", swept={"dataset.label": "b"})


def test_a_command_prints_the_same_with_and_without_the_memory(tmp_path):
    command(tmp_path)
    remembered = command(tmp_path)
    shutil.rmtree(os.environ["POMELO_CACHE"])
    forgotten = command(tmp_path)
    assert remembered.stdout.startswith("already done") and remembered.stdout == forgotten.stdout
    assert remembered.stderr == forgotten.stderr


def test_weights_that_are_replaced_while_a_job_runs_are_not_those_of_its_result(tmp_path, monkeypatch):
    path, other = tmp_path / "named.safetensors", tmp_path / "other.safetensors"
    save_network(path, tmp_path, seed=5)
    save_network(other, tmp_path, seed=6)
    remember_job = finished.remember_job

    def replace_and_remember(*given):
        shutil.copy(other, path)
        remember_job(*given)

    monkeypatch.setattr(finished, "remember_job", replace_and_remember)
    finish(tmp_path, f"classifier.weights={path}")
    assert finished.find(question(tmp_path, f"classifier.weights={path}")) is None


def test_a_name_in_a_users_module_may_stand_for_another_component_later(tmp_path, monkeypatch):
    (tmp_path / "my_names.py").write_text("from pomelo_lab.sampler.gray import GraySampler as Fill\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = plain(tmp_path)
    assert finished.find_weights(config) == []
    assert finished.find_weights({**config, "sampler": {"_target_": "my_names.Fill"}}) is None
