import pytest
import torch

from pomelo_lab.classifier.layer_distance import unit_distance
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.perceptual import CounterfactualLPIPS, Diversity
from pomelo_lab.types import Explanation
from tests.explainer.gradients import rectified
from tests.metric.counterfactuals import case_of
from tests.tiny import tiny_image


def test_an_image_is_no_distance_from_itself():
    image = (tiny_image(2) * 255).round() / 255
    score = CounterfactualLPIPS(oracle=rectified(), layers=["0", "1"]).score(case_of(image=image, counterfactual=image))
    assert float(score["value"].max()) < 1e-12


def several(n=3, flipped=None, shape=(3, 8, 8)):
    target = torch.zeros(4, dtype=torch.long)
    extra = [{"flipped": torch.ones(4)} for _ in range(n)]
    if flipped is not None:
        extra[1] = {"flipped": flipped}
    explanations = tuple(
        Explanation(target=target, counterfactual=tiny_image(4, shape, seed=k), extra=extra[k]) for k in range(n)
    )
    return Case(batch=None, explanations=explanations)


def test_diversity_and_its_two_normalisers():
    options = {"oracle": rectified(), "layers": ["0"], "seeds": [0, 1, 2]}
    pairs, paper = (Diversity(**options, normalizer=n).score(several())["value"] for n in ("pairs", "paper"))
    # (n + 1) / (n - 1): 1.5 for five
    torch.testing.assert_close(pairs / paper, torch.full((4,), 2.0, dtype=torch.float64))
    images = [(tiny_image(4, seed=k) * 255).round() / 255 for k in range(3)]
    expected = sum(unit_distance(rectified(), ["0"], images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    torch.testing.assert_close(pairs.float(), expected, atol=1e-6, rtol=0)
    some = Diversity(**options, population="successes").score(several(flipped=torch.tensor([1.0, 0, 1, 0])))
    assert some["value"].isnan().tolist() == [False, True, False, True] and Diversity(**options).overrides() == [
        {"seed": s} for s in (0, 1, 2)
    ]
    same = Diversity(**options).score(several(flipped=torch.tensor([1.0, 0, 1, 0])))["same"]
    # one of three runs failed
    torch.testing.assert_close(same, torch.tensor([1, 2 / 3, 1, 2 / 3], dtype=torch.float64))
    runs = {"key": "explainer.index", "settings": [[0], [1], [2]]}
    assert Diversity(**options, **runs).overrides() == [{"explainer.index": [i]} for i in (0, 1, 2)]
    torch.testing.assert_close(Diversity(**options, **runs).score(several())["value"], pairs)
    with pytest.raises(ValueError, match="settings must hold two or more"):
        Diversity(**options, key="explainer.index", settings=[[0]])
    with pytest.raises(ValueError, match="seeds must hold two or more"):
        Diversity(**{**options, "seeds": [0]})
