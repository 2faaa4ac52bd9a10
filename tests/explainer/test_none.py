import pytest

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.none import NoExplainer
from tests.tiny import tiny_batch


def test_asks_for_perturbations_and_explains_nothing():
    batch = tiny_batch(1)
    assert NoExplainer(n_samples=7).n_samples == 7 and "perturbations" in NoExplainer.needs
    with pytest.raises(ValueError, match="explainer=none explains nothing"):
        NoExplainer().explain(Case(batch, batch.label, None, RandomStreams(0)))
