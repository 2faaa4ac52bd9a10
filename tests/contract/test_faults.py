"""Each deliberate fault of `tests.contract.faulty` breaks the rule that it should, and the reason names it."""

import pytest

from pomelo_lab.conformance import broken
from tests.contract import faulty

FAULTS = {  # role, class -> words of the lines, one for each rule that it breaks
    ("explainer", "Careful"): [],
    ("explainer", "OnlyCounterfactuals"): [],
    ("explainer", "ChangesImages"): ["it changes case.batch.image in place"],
    ("explainer", "ScalesByTheBatch"): ["in any batch and any order: the attribution of images"],
    ("explainer", "UsesTheGlobalGenerator"): ["it uses torch's global random generator"],
    ("explainer", "IsNotFree"): ["explanations: declared 0 queries, counted 3"],
    ("metric", "MeanOfMap"): [],
    ("metric", "Ranks"): ["any order; `partners` names the other image it depends on: value of images"],
    ("metric", "OneForAll"): ["value is (), for 3 images", "any order", "gives one number"],
    ("metric", "AveragesNaN"): ["what is NaN is counted and not averaged: of 3 images"],
    ("metric", "ReadsPerturbations"): ["has no attribute 'image' (faulty.py, line"],
    ("sampler", "IgnoresItsMask"): ["A mask that keeps all gives the image", "A mask is filled alike", "blends"],
    ("dataset", "AnotherShape"): ["images are (3, 16, 15), `shape` says (3, 16, 16)"],
    ("classifier", "LooksAtNeighbours"): ["An image is answered alike alone"],
    ("generator", "AsksTwice"): ["3 images, counted 6 evaluations"],
    ("segmenter", "ComparesWithTheBatch"): ["the same segments alone"],
}
ARGUMENTS = {
    "metric": "n_images: null",
    "dataset": "split: test\nsize_px: 16",
    "classifier": "num_classes: 10",
    "sampler": "rate: 0.5\nkeep_first: true\ndesign: bernoulli",
    "generator": "n_flows: 1\nhidden: 4\nrecipe: default",
}


@pytest.mark.parametrize(("role", "name"), FAULTS, ids=lambda part: part)
def test_a_fault_is_named(role, name, tmp_path):
    (tmp_path / role).mkdir()
    inherited = "defaults: [shared/glow@_here_, _self_]\n" if role == "generator" else ""
    target = f"_target_: {faulty.__name__}.{name}\n"
    (tmp_path / role / "mine.yaml").write_text(f"{inherited}{target}{ARGUMENTS.get(role, '')}\n")
    lines = broken(role, "mine", folders=[str(tmp_path)])
    assert len(lines) == len(FAULTS[role, name]), lines
    assert all(words in line for words, line in zip(FAULTS[role, name], lines, strict=True)), lines
