"""What every data set promises, for the tests that make the files of one."""

from __future__ import annotations

from pomelo_lab.conformance.dataset import RULES
from pomelo_lab.conformance.trial import Trial, judge
from pomelo_lab.dataset.base import Dataset


def check_contract(dataset: Dataset) -> None:
    """Every rule of `pomelo_lab.conformance.dataset`."""
    assert not [verdict for verdict in judge(RULES, Trial(dataset)) if verdict.state == "fail"]
