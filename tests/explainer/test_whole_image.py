import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.whole_image import WholeImageExplainer
from pomelo_lab.metric.localization import Localization
from tests.tiny import tiny_batch


def test_its_box_is_the_whole_image():
    explanation = WholeImageExplainer().explain(Case(tiny_batch(3), torch.zeros(3, dtype=torch.long), None, None))
    assert (explanation.attribution == 1).all()
    assert (Localization().boxes(explanation.attribution) == torch.tensor([0.0, 0, 8, 8])).all()
