"""The signature check: what it refuses, and in which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from pomelo_lab.config.hints import Count, Fraction, Positive
from pomelo_lab.config.problem import lacks
from pomelo_lab.config.signature import Component, describe, node_problems, role_of
from pomelo_lab.dataset.digits import Digits
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.sampler.base import Filler, Sampler

HERE = "tests.config.test_signature"


@dataclass(kw_only=True)
class Widget(Component):
    size: Count
    rate: Fraction = 0.5
    sigma: Positive | None = None
    kind: Literal["soft", "hard"] = "soft"
    names: list[str] | None = None


@dataclass(kw_only=True)
class Holder(Component):
    filler: Filler
    weight: float = 1.0


def node(name: str, **values):
    return {"_target_": f"{HERE}.{name}", **values}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": 3}, []),
        ({"size": 3, "sigma": 2}, []),
        ({"size": 3, "sigma": None}, []),
        ({"size": "abc"}, ["w.size must be an integer >= 1, got 'abc'"]),
        ({"size": True}, ["w.size must be an integer >= 1, got True"]),
        ({"size": 0}, ["w.size must be >= 1, got 0"]),
        ({"size": 3, "sigma": -1}, ["w.sigma must be > 0, got -1"]),
        ({"size": 3, "rate": 1.5}, ["w.rate must be <= 1, got 1.5"]),
        ({"size": 3, "kind": "sofd"}, ["w.kind must be one of 'soft', 'hard', got 'sofd', did you mean 'soft'?"]),
        ({"size": 3, "names": "a"}, ["w.names must be a list, got 'a'"]),
        ({}, ["w.size is missing: expected an integer >= 1"]),
        ({"size": "???"}, ["w.size is missing: expected an integer >= 1"]),
    ],
)
def test_values_are_checked_against_the_signature(values, expected):
    assert node_problems(node("Widget", **values), "w") == expected


def test_every_problem_is_reported_at_once_with_near_names():
    problems = node_problems(node("Widget", sise=3, rate="x"), "w")
    assert len(problems) == 3
    assert "w.sise is unknown to Widget, did you mean 'size'?" in problems[0]


def test_a_wrong_path_names_what_is_there():
    assert "did you mean 'Widget'?" in node_problems(node("Widgit"), "w")[0]
    assert "no module named" in node_problems({"_target_": "nowhere.Widget"}, "w")[0]


def test_a_full_input_sampler_is_refused_where_a_filler_is_needed():
    ideal = {"_target_": "pomelo_lab.sampler.reference.ReferenceSampler"}
    [problem] = node_problems(node("Holder", filler=ideal), "metrics.deletion", None, ())
    assert problem.startswith("metrics.deletion.filler must be a Filler, got ReferenceSampler (a sampler that can fill")


def test_a_missing_filler_is_supplied_by_the_job_or_named():
    from pomelo_lab.sampler.gray import GraySampler
    from pomelo_lab.sampler.reference import ReferenceSampler

    assert node_problems(node("Holder"), "w", None, (GraySampler,)) == []
    assert (
        "needs a Filler, the job has ReferenceSampler"
        in node_problems(node("Holder"), "w", None, (ReferenceSampler,))[0]
    )
    assert node_problems(node("Holder"), "w") == ["w.filler is missing: expected a Filler"]


@dataclass(kw_only=True)
class OfPortraits(Component):
    dataset: Portraits


@dataclass(kw_only=True)
class MaybeHolder(Component):
    inner: OfPortraits | None = None


def test_an_inner_component_says_what_the_data_lacks():
    """Also where the argument may be null: else the whole node was quoted as being of a wrong type."""
    (problem,) = node_problems(node("MaybeHolder", inner=node("OfPortraits")), "w", injectable=(Digits,))
    assert problem == "w.inner.dataset needs a Portraits, the job has Digits"
    assert (problem.owner, lacks(problem)) == ("w.inner", "needs Portraits, not Digits")
    (wrong,) = node_problems(node("Holder", filler=node("Widget", size=1)), "w", injectable=(Digits,))
    assert not lacks(wrong)


def test_python_users_get_the_same_rules():
    with pytest.raises(ValueError, match="size must be >= 1, got 0"):
        Widget(size=0)


def test_the_role_of_a_users_component_is_that_of_the_class_it_extends():
    class Mine(Sampler):
        pass

    assert role_of(Mine) == "sampler"


def test_hints_in_words():
    assert describe(Count | None) == "an integer >= 1 or null"


def test_code_from_outside_is_named_before_it_is_imported(tmp_path, monkeypatch, capsys):
    from pomelo_lab.config.signature import locate

    (tmp_path / "outside_of_us.py").write_text("import sys\nprint('runs', file=sys.stderr)\nclass X: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    locate("outside_of_us.X")
    locate("outside_of_us.X")
    assert capsys.readouterr().err.splitlines() == [
        "importing outside_of_us, which _target_ 'outside_of_us.X' names",
        "runs",
    ]
