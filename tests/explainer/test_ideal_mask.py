import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.ideal_mask import IdealMaskExplainer
from tests.tiny import tiny_batch


def test_attribution_is_the_mask():
    batch = tiny_batch(3)
    out = IdealMaskExplainer().explain(Case(batch, batch.label, None, RandomStreams(0)))
    assert torch.equal(out.attribution, batch.masks["label"].float())
    with pytest.raises(ValueError, match=r"explainer.part must be a mask of the data set \(label\), got 'nose'"):
        IdealMaskExplainer(part="nose").explain(Case(batch, batch.label, None, RandomStreams(0)))
