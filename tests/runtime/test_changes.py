"""Explainers that change a square of an image get the answers of whole forwards, from incremental ones where these
agree."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.run import run
from pomelo_lab.runtime import changes, choice
from pomelo_lab.runtime.chosen import watch_runtimes
from pomelo_lab.runtime.incremental import Incremental
from pomelo_lab.runtime.originals import Originals
from tests.running import config
from tests.runtime.test_incremental import patched

IMAGES, ORIGINALS = patched(64, 12, 22)
PART = "ResidualClassifier, images with a changed part"


def classifier(runtime: str = "eager") -> ResidualClassifier:
    return ResidualClassifier(num_classes=5, width=8).use_runtime(runtime)


def ask(network, originals: Originals | None = ORIGINALS, batch_size: int = 16):
    """Probabilities of all images, and what answered."""
    box = view(network, "black_box", batch_size)
    with watch_runtimes() as told:
        answer = box.probability_of(lambda start, stop: IMAGES[start:stop], len(IMAGES), originals=originals)
    assert box.queries == len(IMAGES)
    return answer, told


@pytest.mark.parametrize("batch_size", [1, 3, 8, 22])
def test_answers_are_those_of_whole_forwards_in_any_batch(batch_size):
    network = classifier("incremental")
    for _ in range(3):
        answer, told = ask(network, batch_size=batch_size)
        assert told[PART]["runtime"] == "incremental", told
        assert torch.allclose(answer, ask(classifier())[0], atol=1e-6)


def test_images_from_no_known_ones_have_whole_forwards():
    answer, told = ask(classifier("incremental"), originals=None)
    assert torch.equal(answer, ask(classifier())[0])
    assert told == {"ResidualClassifier": {"runtime": "eager", "why": choice.WHOLE}}


def test_logits_are_answered_too():
    target = torch.arange(len(IMAGES)) % 5
    answers = [
        view(classifier(name), "white_box", 8).logit_of(lambda i, j: IMAGES[i:j], len(IMAGES), target, ORIGINALS)
        for name in ("eager", "incremental")
    ]
    assert torch.allclose(*answers, atol=1e-5) and answers[0].shape == (len(IMAGES),)


def test_auto_first_chooses_among_whole_forwards_and_then_compares_with_the_one_in_use(monkeypatch):
    monkeypatch.setattr(choice, "RUNTIMES", {})
    network = classifier("auto")
    assert PART not in ask(network)[1], "short work prepares nothing"
    monkeypatch.setattr(choice, "PREPARE_S", -1.0)
    monkeypatch.setattr(changes, "GAIN", 0.0)
    ask(network)
    answer, told = ask(network)
    assert told[PART]["runtime"] == "incremental" and told["ResidualClassifier"]["runtime"] == "eager"
    assert torch.allclose(answer, ask(classifier())[0], atol=1e-6)
    monkeypatch.setattr(changes, "GAIN", 1e9)
    network = classifier("auto")
    ask(network), ask(network)
    told = ask(network)[1][PART]
    assert told["runtime"] == "whole forwards" and "times as fast" in told["why"]


@pytest.mark.parametrize("name", ["eager", "frozen"])
def test_a_runtime_that_was_asked_for_makes_whole_forwards(name):
    assert PART not in ask(classifier(name))[1]


@pytest.mark.parametrize(("error", "late"), [(1e-3, 0), (float("nan"), 0), (1e-3, 4), (1e-3, 5)])
def test_answers_that_differ_are_those_of_whole_forwards(monkeypatch, error, late):
    """At once, or in one of the first calls after the choice."""
    calls, right = [], Incremental.answer

    def wrong(self, *args):
        calls.append(1)
        return right(self, *args) + error * (len(calls) > late)

    monkeypatch.setattr(Incremental, "answer", wrong)
    network = classifier("incremental")
    for _ in range(4):
        answer, told = ask(network)
        assert torch.allclose(answer, ask(classifier())[0], atol=1e-6)
    assert told[PART]["runtime"] == "whole forwards" and "differ" in told[PART]["why"]


def test_networks_that_cannot_be_followed_say_why():
    network = classifier("incremental")
    network.network = nn.Sequential(nn.GroupNorm(1, 3), network.network).eval()
    answer, told = ask(network)
    assert told[PART]["runtime"] == "whole forwards" and "do not act locally" in told[PART]["why"]
    assert torch.equal(answer, network.use_runtime("eager").probability(IMAGES))


def test_other_weights_and_hooks_are_seen():
    network = classifier("incremental")
    before, _ = ask(network)
    with torch.no_grad():
        for parameter in network.network.parameters():
            parameter.mul_(1.5)
    after, told = ask(network)
    assert not torch.allclose(before, after) and told[PART]["runtime"] == "incremental"
    assert torch.allclose(after, network.probability(IMAGES), atol=1e-6)
    seen = []
    handle = next(network.network.modules()).stem.register_forward_hook(lambda *_: seen.append(1))
    assert PART not in ask(network)[1] and seen
    handle.remove()


@pytest.mark.parametrize(("explainer", "side"), [("sliding_patch", "patch_px"), ("occlusion", "window_px")])
def test_a_job_has_the_same_maps_and_the_same_fingerprint(tmp_path, explainer, side):
    maps, names = {}, set()
    job = "dataset.size_px=64", f"explainer={explainer}", f"explainer.{side}=8", "explainer.stride_px=8"
    for name in ("eager", "incremental"):
        folder = run(config(tmp_path / name, f"runtime={name}", *job))
        names.add(folder.name)
        [file] = (tmp_path / name / "explanation").glob("*/*.safetensors")
        maps[name] = load_file(file)["attribution"]
    stages = json.loads((folder / "status.json").read_text())["stages"]
    told = {key: it["runtime"] for stage in stages.values() for key, it in stage.get("runtimes", {}).items()}
    assert told[PART] == "incremental", told
    rounding = 1e-6  # of a probability
    assert len(names) == 1 and float(maps["eager"].abs().max()) > 100 * rounding
    assert (maps["eager"] - maps["incremental"]).abs().max() <= rounding
