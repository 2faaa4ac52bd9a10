import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.ideal_counterfactual import IdealCounterfactualExplainer
from tests.tiny import TinyLinear

N = 24


def explained(label, goal=None):
    data = Portraits(label=label, size_px=32, n_val=N)
    batch = data.batch(range(N))
    box = view(TinyLinear.random(data.num_classes, (3, 32, 32), scale=0.02), "black_box", 64)
    explanation = IdealCounterfactualExplainer(dataset=data, goal=goal).explain(
        Case(batch, batch.label, box, RandomStreams(0))
    )
    return data, batch, explanation


@pytest.mark.parametrize("label", ["Smiling", "Young", "Eyeglasses", "Wearing_Necktie"])
def test_the_attribute_turns_and_no_other_cause_does(label):
    data, batch, explanation = explained(label)
    explainer = IdealCounterfactualExplainer(dataset=data)
    changed = explainer.change_label(batch.factors, 1 - batch.label)
    assert torch.equal(data.compute_labels(changed), 1 - batch.label)
    assert sum(not torch.equal(changed[name], batch.factors[name]) for name in data.model.causes) == 1
    assert torch.equal(explainer.change_label(batch.factors, batch.label)["noise"], batch.factors["noise"])
    same = explainer.change_label(batch.factors, batch.label)
    assert all(torch.equal(same[name], batch.factors[name]) for name in data.model.causes)


def test_pictures_change_where_the_label_is_decided():
    data, batch, explanation = explained("Smiling")
    goal = explanation.extra["goal"].long()
    turned = goal != batch.label
    changed = (explanation.counterfactual != batch.image).any(1)
    inside = (changed & batch.masks["label"])[turned].sum() / changed[turned].sum()  # the mask tries eight smiles
    assert turned.any() and float(inside) > 0.9 and changed[turned].flatten(1).any(1).all()
    assert torch.equal(explanation.extra["goal_probability"] > 0.5, explanation.extra["flipped"] > 0)


def test_hair_of_another_colour():
    data, batch, explanation = explained("hair_color", goal=3)
    expected, _ = data.render(data.intervene(batch.factors, {"hair_color": "brown"}), with_masks=False)
    assert torch.equal(explanation.counterfactual, expected)
