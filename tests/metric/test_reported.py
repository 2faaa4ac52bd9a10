import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.reported import Reported
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch


def value(name):
    extra = {"mean_time": torch.tensor([0.2, 0.4]), "time": torch.ones(2, 8, 8)}
    explanation = Explanation(target=torch.zeros(2, dtype=torch.long), extra=extra)
    return Reported(name=name).score(Case(batch=tiny_batch(2), explanation=explanation))["value"]


def test_numbers_absent_numbers_and_maps():
    assert torch.equal(value("mean_time"), torch.tensor([0.2, 0.4])) and value("information").isnan().all()
    with pytest.raises(ValueError, match=r"time must be one number per image, got \[8, 8\]"):
        value("time")


def test_what_an_explainer_does_not_report_does_not_apply_to_it():
    """Not counted and not undefined: nothing is said to be left out."""
    metric = Reported(name="information")
    rows = metric.score(Case(batch=tiny_batch(2), explanation=Explanation(target=torch.zeros(2, dtype=torch.long))))
    summary = metric.summarize(rows, {})
    assert (summary.n, summary.n_nan, summary.details) == (0, 0, {"applies": 0.0})
    undefined = metric.summarize({"value": torch.full((2,), torch.nan)}, {})
    assert (undefined.n, undefined.n_nan, undefined.details) == (0, 2, {})
