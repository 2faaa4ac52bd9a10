import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.completeness import Completeness
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch


def value(extra, **options):
    explanation = Explanation(target=torch.zeros(2, dtype=torch.long), attribution=torch.ones(2, 8, 8), extra=extra)
    return Completeness(**options).score(Case(batch=tiny_batch(2), explanation=explanation))["value"]


def test_error_and_methods_that_do_not_claim_it():
    extra = {"total": torch.tensor([1.0, -3.0]), "difference": torch.tensor([2.0, -3.0])}
    assert value(extra).tolist() == [1.0, 0.0] and value(extra, relative=True).tolist() == [0.5, 0.0]
    assert value({}).isnan().all()
