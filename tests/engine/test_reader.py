"""A job that only reads: it returns what was stored, asks no network, and names what is missing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.not_stored import NotStored
from pomelo_lab.engine.store import Store
from pomelo_lab.results.sheet import write_sheet
from tests.running import config

METRICS = ("metrics=fidelity", "+metric@metrics.label_distribution=label_distribution")


def job(outputs, *overrides):
    settings = {**config(outputs, "n_images=3", *overrides), "choices": {"dataset": "digits", "explainer": "lime"}}
    return Job(settings, Store(outputs))


@pytest.fixture
def no_network(monkeypatch):
    """Every forward of every network is an error."""

    def forward(*_, **__):
        raise AssertionError("a network was asked")

    return lambda: monkeypatch.setattr(nn.Module, "__call__", forward)


def test_what_is_stored_is_read_without_a_network(tmp_path, no_network):
    made = job(tmp_path, *METRICS)
    explanation, perturbations = made.explanation(0), made.perturbations(0, probability=True)
    scores = {name: made.score(name, 0).tensors for name in made.parts.metrics}
    target, reference = made.target(0), made.reference("label_distribution")
    no_network()
    read = job(tmp_path, *METRICS).reader
    assert torch.equal(read.explanation(0).attribution, explanation.attribution)
    again = read.perturbations(0, probability=True)
    assert torch.equal(again.image, perturbations.image) and torch.equal(again.probability, perturbations.probability)
    assert torch.equal(read.target(0), target)
    assert torch.equal(read.reference("label_distribution")["distribution"], reference["distribution"])
    for name, tensors in scores.items():
        assert all(torch.equal(read.score(name, 0).tensors[key], tensor) for key, tensor in tensors.items())
    assert write_sheet(read, tmp_path)


def test_what_is_missing_is_named_with_the_command_that_makes_it(tmp_path, no_network):
    no_network()
    read = job(tmp_path).reader
    command = f"python -m pomelo_lab.run dataset=digits explainer=lime paths.outputs={tmp_path}"
    with pytest.raises(NotStored, match="explanation of images 0 to 2 is not stored in .*") as error:
        read.explanation(0)
    assert str(error.value).endswith(f"{command} makes it")
    with pytest.raises(NotStored) as error:
        read.clean(0)
    assert str(error.value).endswith(f"{command} force=true makes it"), "a finished job may lack them"
    with pytest.raises(NotStored, match="keep_gb=<more than 0> force=true makes it$"):
        job(tmp_path, "keep_gb=0").reader.perturbations(0)
    assert not any(tmp_path.rglob("*.safetensors"))


def test_chosen_images_are_read_from_stored_answers(tmp_path, no_network):
    made = job(tmp_path, "images=correct", "metrics=none")
    chosen = made.batch(0).image_id
    no_network()
    assert job(tmp_path, "images=correct", "metrics=none").reader.batch(0).image_id == chosen
    with pytest.raises(NotStored, match="clean"):
        job(tmp_path / "empty", "images=correct", "metrics=none").reader.batch(0)
