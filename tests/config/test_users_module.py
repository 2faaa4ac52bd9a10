"""A user's class that fails is named in one sentence, with the error, its file and its line."""

import re

import pytest

from pomelo_lab.config.build import build
from pomelo_lab.config.signature import node_problems

CLASSES = """from dataclasses import dataclass
from pomelo_lab.sampler.black import BlackSampler
@dataclass(kw_only=True)
class Fails(BlackSampler):
    kind: str = "run"
    def __post_init__(self):
        if self.kind == "run": raise RuntimeError("no file")
        if self.kind == "key": {}["gone"]
        if self.kind == "memory": raise RuntimeError("CUDA out of memory")
        raise ValueError("sampler.kind must be another")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module of the user's with CLASSES in it."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "failing_classes.py").write_text(CLASSES)
    return "failing_classes"


@pytest.mark.parametrize(
    ("kind", "text", "line"), [("run", "RuntimeError: no file", 7), ("key", "KeyError: 'gone'", 8)]
)
def test_a_constructor_that_raises_is_named_with_its_line(module, kind, text, line):
    with pytest.raises(
        ValueError, match=rf"^sampler {module}\.Fails raised {text} \(.*{module}\.py, line {line}, in __post_init__\)$"
    ):
        build({"_target_": f"{module}.Fails", "kind": kind})


def test_a_message_and_memory_that_ran_out_are_left_alone(module):
    with pytest.raises(ValueError, match=r"^sampler\.kind must be another$"):
        build({"_target_": f"{module}.Fails", "kind": "other"})
    with pytest.raises(RuntimeError, match="out of memory"):
        build({"_target_": f"{module}.Fails", "kind": "memory"})


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("class Mine\n", r"SyntaxError: expected ':' \(.*{}\.py, line 1\)"),
        ("x = 1\n{}['gone']\n", r"KeyError: 'gone' \(.*{}\.py, line 2, in <module>\)"),
        ("from json import nothing\n", r"ImportError: cannot import name 'nothing' .*{}\.py, line 1, in <module>\)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_a_problem_of_the_config(tmp_path, monkeypatch, code, text):

    monkeypatch.syspath_prepend(tmp_path)
    name = f"broken_{len(code)}"
    (tmp_path / f"{name}.py").write_text(code)
    (problem,) = node_problems({"_target_": f"{name}.Mine"}, "sampler")
    start = f"sampler._target_: '{name}.Mine': {name} failed when it was imported: "
    assert problem.startswith(start) and re.fullmatch(text.replace("{}", name, 1), problem.removeprefix(start))
