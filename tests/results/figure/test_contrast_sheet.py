"""Which images a contrast shows: those where one method is furthest ahead, and furthest behind."""

from types import SimpleNamespace

import pytest
import torch

from pomelo_lab.engine.store import GROUP, Shard
from pomelo_lab.results.figure import contrast_sheet
from pomelo_lab.results.figure.contrast_sheet import lead, of_rows, values
from tests.results.fake import FakeCell, FakeJob


class Scored(FakeJob):
    """A job of one group whose metrics give known scores."""

    def __init__(self, direction="higher", **scores):
        super().__init__(tuple(scores), n=len(next(iter(scores.values()))))
        self.scores, self.metrics = scores, {name: SimpleNamespace(direction=direction) for name in scores}

    def score(self, name, group):
        return Shard({"value": torch.tensor(self.scores[name])})


def cell(explainer, **options):
    return FakeCell({"explainer": explainer, "sampler": "none"}, job=Scored(**options))


def test_the_lead_is_ours_minus_theirs():
    first, second = cell("random", m=[0.9, 0.2, 0.5]), cell("ideal_mask", m=[0.1, 0.9, 0.4])
    assert lead(first, second, ["m"]).argsort(descending=True).tolist() == [0, 2, 1]
    assert lead(second, first, ["m"]).argsort(descending=True).tolist() == [1, 2, 0]
    lower = [
        cell(name, direction="lower", m=given)
        for name, given in (("random", [0.9, 0.2, 0.5]), ("ideal_mask", [0.1, 0.9, 0.4]))
    ]
    assert lead(*lower, ["m"]).argsort(descending=True).tolist() == [1, 2, 0]


def test_of_several_metrics_the_worst_place_counts():
    """Image 0 is first by a and last by b: it is no example of either."""
    first = cell("random", a=[1.0, 0.5, 0.2, 0.3], b=[0.0, 0.9, 0.2, 0.5])
    second = cell("ideal_mask", a=[0.0, 0.0, 0.0, 0.0], b=[0.0, 0.0, 0.0, 0.0])
    assert lead(first, second, ["a", "b"]).argsort(descending=True, stable=True).tolist()[0] == 1
    unscored = cell("random", a=[float("nan"), 0.1, 0.2])
    assert lead(unscored, cell("ideal_mask", a=[0.0, 0.0, 0.0]), ["a"]).argmin() == 0
    with pytest.raises(ValueError, match="the jobs have no metric 'c'"):
        values(first, "c")


def test_rows_are_read_group_by_group():
    asked = []

    def get(group):
        asked.append(group)
        return torch.arange(GROUP) + GROUP * group

    rows = [2 * GROUP + 1, 3, 2 * GROUP + 5, 0]
    assert [int(x) for x in of_rows(get, rows)] == rows and asked == [2, 0]


def test_one_method_is_no_contrast(tmp_path):
    with pytest.raises(ValueError, match="two methods with attributions are compared, 1 have finished"):
        contrast_sheet.draw([cell("random", m=[0.1, 0.2])], tmp_path / "sheet.png", metrics=["m"])
