import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.causal_effect import CausalEffect, FactorChange, FactorMass
from pomelo_lab.types import Explanation

FACES = Portraits(size_px=32, spurious={"attribute": "blond", "rate": 0.8})
TARGET = torch.zeros(6, dtype=torch.long)


class Corner(Classifier):
    """Class 0 is the brightness of the lower left corner, where the mark is; class 1 its complement."""

    num_classes = 2

    def __init__(self, reads_the_mark: bool = True) -> None:
        self.rows = slice(26, 31) if reads_the_mark else slice(0, 3)

    def probability(self, images):
        value = images[:, :, self.rows, 1:6].mean((1, 2, 3))
        return torch.stack([value, 1 - value], 1)

    def digest(self):
        return "corner"


def case_of(attribution=None, classifier=None):
    batch = FACES.batch(range(6))
    explanation = Explanation(target=TARGET, attribution=attribution) if attribution is not None else None
    box = view(classifier or Corner(), "black_box", 8)
    return Case(batch=batch, target=TARGET, explanation=explanation, classifier=box, streams=RandomStreams(0))


def mark_mask(batch):
    return FACES.causal_mask(batch, "mark")


def test_all_mass_on_the_mark_is_1_and_none_of_it_0_whatever_the_sign():
    mask = mark_mask(case_of().batch).float()
    metric = FactorMass(dataset=FACES)
    assert metric.score(case_of(-3 * mask))["value"].tolist() == [1] * 6
    assert metric.score(case_of(1 - mask))["value"].tolist() == [0] * 6


def test_a_constant_map_scores_the_area_of_the_mark():
    case = case_of(torch.full((6, 32, 32), 0.3))
    assert FactorMass(dataset=FACES).score(case)["value"].tolist() == pytest.approx(
        mark_mask(case.batch).float().mean((1, 2)).tolist(), rel=1e-6
    )


def test_a_map_of_zeros_or_with_nan_is_undefined():
    attribution = torch.ones(6, 32, 32)
    attribution[0], attribution[1, 0, 0] = 0, torch.nan
    assert FactorMass(dataset=FACES).score(case_of(attribution))["value"].isnan().tolist() == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_effect_is_the_change_of_the_answer_when_the_mark_alone_changes():
    case = case_of()
    with_mark, without = (
        FACES.render(FACES.intervene(case.batch.factors, {"mark": v}), with_masks=False)[0]
        for v in ("present", "absent")
    )
    expected = (Corner().probability(with_mark) - Corner().probability(without))[:, 0].abs()
    assert expected.min() > 0.01
    metric = CausalEffect(dataset=FACES)
    assert metric.score(case)["value"].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert case.classifier.queries == 6 * metric.cost((3, 32, 32), 0).queries


def test_a_classifier_that_does_not_look_there_does_not_depend_on_the_mark():
    assert (
        CausalEffect(dataset=FACES).score(case_of(classifier=Corner(reads_the_mark=False)))["value"].tolist() == [0] * 6
    )


def test_unknown_factor():
    with pytest.raises(ValueError, match="mark"):
        FactorMass(dataset=FACES, factor="marc")


def test_change_of_the_cause_is_the_share_of_its_own_change():
    """The mark switched, half of it, none of it, and something else altogether."""
    case, model = case_of(), FACES.model
    image, factors = case.batch.image, case.batch.factors
    on, off = (
        FACES.render(model.intervene(factors, {"mark": v}), with_masks=False)[0] for v in model.causes["mark"].values(8)
    )
    switched = torch.where(((on - image).abs().flatten(1).sum(1) > 0)[:, None, None, None], on, off)
    bald = FACES.render(model.intervene(factors, {"hair_color": "gray"}), with_masks=False)[0]
    metric = FactorChange(dataset=FACES)
    for made, wanted in (
        (switched, 1.0),
        ((switched + image) / 2, 0.5),
        (image, 0.0),
        (2 * image - switched, -1.0),
        (bald, 0.0),
    ):
        one = Case(
            batch=case.batch,
            target=TARGET,
            explanation=Explanation(target=TARGET, counterfactual=made),
            streams=RandomStreams(0),
        )
        assert metric.score(one)["value"].tolist() == pytest.approx([wanted] * 6, abs=1e-6)


def test_change_needs_a_counterfactual():
    with pytest.raises(ValueError, match="needs counterfactuals"):
        FactorChange(dataset=FACES).score(case_of(torch.ones(6, 32, 32)))
