import math

import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.counterfactual import BKL, COUT, L1, FlipRate
from pomelo_lab.types import Explanation, Perturbations
from tests.metric.counterfactuals import case_of
from tests.tiny import TinyLinear, tiny_batch, tiny_image


def test_flip_rate_of_the_image_and_of_what_the_explainer_says():
    case = case_of(flipped=torch.tensor([1.0, 0, 1, 0, 1, 0]))
    answer = case.classifier.probability(case.explanation.counterfactual).argmax(1)
    assert FlipRate(of="image").score(case)["value"].tolist() == (answer != case.target).double().tolist()
    # the same flips as the population "successes"
    assert FlipRate().score(case)["value"].tolist() == [1, 0, 1, 0, 1, 0]


def test_eight_bits_decide():
    """A change below half a level is none."""
    weight = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    weight[1] = 1.0
    classifier = TinyLinear(weight=weight, bias=torch.tensor([96.0, 0.0], dtype=torch.float64))
    image = torch.full((1, 3, 8, 8), 127 / 255)
    case = case_of(image=image, counterfactual=torch.full((1, 3, 8, 8), 0.5 - 1e-4), classifier=classifier)
    assert float(FlipRate(of="image").score(case)["value"]) == 0
    case = case_of(image=image, counterfactual=torch.full((1, 3, 8, 8), 0.5 + 1e-4), classifier=classifier)
    assert float(FlipRate(of="image").score(case)["value"]) == 1


def test_whom_a_score_counts():
    flipped = torch.tensor([1.0, 1, 0, 0])
    wrong = torch.tensor([True, False, True, False])
    first = case_of(4)
    case = case_of(4, flipped=flipped, label=torch.where(wrong, 1 - first.target, first.target))
    wanted = {"all": [0, 1, 2, 3], "successes": [0, 1], "correct": [1, 3], "correct_successes": [1]}
    for population, rows in wanted.items():
        metric = L1(population=population)
        scores = metric.score(case)
        assert scores["value"].isfinite().nonzero()[:, 0].tolist() == rows, population
        summary = metric.summarize(scores, {})
        assert summary.n == len(rows) and summary.n_nan == 0
    none = case_of(4, flipped=torch.zeros(4))
    summary = L1(population="successes").summarize(L1(population="successes").score(none), {})
    assert summary.n == 0 and math.isnan(summary.mean)


def test_l1_and_bkl():
    case = case_of()
    made = Perturbations.dequantize(Perturbations.quantize(case.explanation.counterfactual))
    torch.testing.assert_close(L1().score(case)["value"], (made - case.batch.image).double().abs().flatten(1).mean(1))
    p = case.classifier.probability(made)[torch.arange(6), 1 - case.target]
    torch.testing.assert_close(BKL().score(case)["value"], 1 - p.double())


def test_cout_by_hand():
    """Four pixels, exchanged one by one in the order of their change."""
    image, other = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.2, 1.0], [0.6, 0.4]]]])
    weight = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    weight[1] = torch.tensor([[1.0, 3.0], [2.0, 1.0]])
    case = case_of(
        image=image,
        counterfactual=other,
        classifier=TinyLinear(weight=weight, bias=torch.tensor([1.0, 0.0], dtype=torch.float64)),
    )
    odds = torch.tensor([0.0, 3.0, 4.2, 4.6, 4.8], dtype=torch.float64) - 1  # pixels 1.0, 0.6, 0.4, 0.2
    p = odds.sigmoid()
    expected = torch.trapezoid(p - (1 - p), dx=0.25)
    scores = COUT(n_steps=4).score(case)
    assert float(scores["value"]) == pytest.approx(float(expected), abs=1e-6)
    torch.testing.assert_close(scores["goal"][0].double(), p, atol=1e-6, rtol=0)


def test_cout_of_the_reference_code_stretches_the_axis():
    """ceil(1024 / 20) = 52 steps of 20 pixels count as 1040 of 1024."""
    image = tiny_image(1, (3, 32, 32))
    case = case_of(
        image=image,
        classifier=TinyLinear(
            weight=torch.zeros(2, 3, 32, 32, dtype=torch.float64), bias=torch.tensor([3.0, 0.0]).double()
        ),
    )
    exact, code = (COUT(exact=e).score(case)["value"] for e in (True, False))
    assert float(code / exact) == pytest.approx(1040 / 1024) and COUT().cost((3, 32, 32), 0).queries == 54
    torch.testing.assert_close(exact, torch.tensor([-math.tanh(1.5)], dtype=torch.float64), atol=1e-6, rtol=0)


def test_identical_counterfactuals_are_defined():
    image = (tiny_image(3) * 255).round() / 255
    case = case_of(image=image, counterfactual=image.clone())
    p = case.classifier.probability(image).double()
    gap = p.gather(1, (1 - case.target)[:, None]) - p.gather(1, case.target[:, None])
    torch.testing.assert_close(COUT().score(case)["value"], gap[:, 0], atol=1e-6, rtol=0)
    assert float(L1().score(case)["value"].max()) == 0 and float(FlipRate(of="image").score(case)["value"].max()) == 0


def test_explanations_without_counterfactuals_are_refused():
    explanation = Explanation(target=torch.zeros(4, dtype=torch.long), attribution=torch.ones(4, 8, 8))
    with pytest.raises(ValueError, match="L1 needs counterfactuals"):
        L1().score(Case(batch=tiny_batch(4), explanation=explanation))
