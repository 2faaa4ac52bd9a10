"""BB-LIG: functions of one pixel, unchanged pixels, the baseline, and white-box paths against captum."""

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.answers import log_odds
from pomelo_lab.classifier.base import view
from pomelo_lab.engine.store import Shard, read_shard, write_shard
from pomelo_lab.explainer.bb_lig import BBLIGExplainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation
from tests.explainer.linear import COMMON, SHAPE, fit, images_of, linear
from tests.tiny import TinyLinear, tiny_batch


def bb_lig(**options):
    return BBLIGExplainer(**{**COMMON, "n_path": 9, **options})


def one_pixel(place=(1, 3, 4), scale=6.0):
    """Log-odds of class 1: scale times one value of the image, less a half."""
    weight = torch.zeros(2, *SHAPE, dtype=torch.float64)
    weight[1][place] = scale
    return TinyLinear(weight=weight, bias=torch.tensor([0.0, -scale / 2]))


def explained(explainer, classifier, n=5, reference=None):
    batch = images_of(n)
    box = view(classifier, explainer.access, 64)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(Case(batch, target, box, RandomStreams(0), reference=reference)), batch, target


@pytest.mark.parametrize("variant", ["lig", "bb_ig"])
def test_a_function_of_one_pixel_straight_to_black(variant):
    """Both derivatives leave all other pixels' maps empty only where the derivative is true; differences stand on every
    changed pixel."""
    explainer = bb_lig(variant=variant)
    explanation, batch, _ = explained(explainer, one_pixel(), reference=fit(explainer))
    elsewhere = explanation.attribution.clone()
    elsewhere[:, 3, 4] = 0
    assert bool((explanation.attribution[:, 3, 4].abs() > 1e-3).all())
    assert bool(elsewhere.any()) == (variant == "bb_ig")


def test_only_the_pixel_that_changes_carries_anything():
    """A path on which one value moves, by hand: its attribution is the difference of the answers, the rest exactly
    0."""
    explainer, classifier = bb_lig(), one_pixel()
    path = torch.full((1, 9, *SHAPE), 200, dtype=torch.uint8)
    path[0, :, 1, 3, 4] = torch.arange(240, 60, -20, dtype=torch.uint8)
    box = view(classifier, "black_box", 64)
    answer, target = box.probability(path), torch.tensor([1])
    gradients = explainer.slopes(path, answer, target, box)
    end = log_odds(answer[0, :, 1])
    assert gradients[0, 1, 3, 4] == pytest.approx(float(end[0] - end[-1]), rel=1e-4)
    gradients[0, 1, 3, 4] = 0
    assert not gradients.any()


def test_white_box_path_is_captum_s():
    from captum.attr import IntegratedGradients

    classifier, explainer = linear(), bb_lig(variant="lig", n_path=5)
    image = tiny_batch(1).image
    share = torch.linspace(0, 1, 5)[:, None, None, None]
    path = (255 * image * (1 - share)).round().to(torch.uint8)[None]
    box = view(classifier, "white_box", 64)
    target = torch.tensor([1])
    gradients = explainer.slopes(path, box.probability(path), target, box)
    captum = IntegratedGradients(lambda x: box.log_odds(x.float(), torch.ones(len(x), dtype=torch.long)))
    wanted = captum.attribute(path[:, 0] / 255.0, baselines=torch.zeros_like(image), n_steps=50)
    torch.testing.assert_close(gradients, wanted.to(gradients), atol=1e-4, rtol=1e-4)


def test_the_baseline_is_the_first_that_is_surely_not_of_the_class():
    explainer = bb_lig(threshold=0.2, n_search=48, reach=12.0)
    reference = fit(explainer)
    explanation, batch, target = explained(explainer, linear(), reference=reference)
    box = view(linear(), "black_box", 64)
    left = box.probability(explanation.counterfactual).gather(1, target[:, None])[:, 0]
    assert explanation.extra["reached"].tolist() == [1.0] * 5 and bool((left < 0.21).all())
    code, noise = explainer.encode(batch.image)
    line = explainer.lines(explanation.extra["goal"].long(), reference)[:, 0]
    nearer = explainer.render(code, noise, ((explanation.extra["alpha"] - 0.25)[:, None] * line)[:, None])[:, 0]
    assert bool((box.probability(nearer).gather(1, target[:, None])[:, 0] >= 0.2).all())


def test_no_such_place():
    explainer = bb_lig(threshold=1e-6, reach=0.5)
    explanation, _, _ = explained(explainer, linear(), reference=fit(explainer))
    assert explanation.extra["reached"].tolist() == [0.0] * 5 and bool(explanation.attribution.isfinite().all())


def test_access():
    assert bb_lig().access == "black_box" and bb_lig(variant="lig").access == "white_box"


@pytest.mark.parametrize("n_path", [11, 101])
def test_what_the_length_of_the_path_decides(n_path):
    """A pixel that moves by D levels changes in D of the m - 1 steps, and gets the square of that share of the answers'
    difference; at most all."""
    explainer, moves = bb_lig(n_path=n_path), 10
    steps = n_path - 1
    level = torch.arange(n_path)
    path = torch.full((1, n_path, *SHAPE), 128, dtype=torch.uint8)
    path[0, :, 1, 3, 4] = (200 - level).to(torch.uint8)  # what is looked at
    path[0, :, 0, 0, 0] = (100 - (level * moves) // steps).to(torch.uint8)  # what moves along
    box = view(one_pixel(), "black_box", 64)
    answer, target = box.probability(path), torch.tensor([1])
    gap = float(log_odds(answer[0, 0, 1]) - log_odds(answer[0, -1, 1]))
    gradients = explainer.slopes(path, answer, target, box)
    assert float(gradients[0, 0, 0, 0]) == pytest.approx(gap * (moves / steps) ** 2, rel=0.01)


def test_the_differences_are_those_of_the_path_s_ends():
    """Made with BB-LIG's explanation, they are what its baseline says, and need no answer on the way."""
    explainer = bb_lig(threshold=0.2, n_search=24, reach=12.0)
    reference = fit(explainer)
    stored, batch, _ = explained(explainer, linear(), reference=reference)
    code, noise = explainer.encode(batch.image)
    first = explainer.render(code, noise, torch.zeros_like(code)[:, None])[:, 0] / 255.0
    change = (stored.counterfactual - first).abs()
    shown = {
        variant: bb_lig(variant=variant).postprocess(stored)
        for variant in ("bb_lig", "difference", "squared_difference")
    }
    torch.testing.assert_close(shown["difference"].attribution, change.sum(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(shown["squared_difference"].attribution, change.square().sum(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(shown["bb_lig"].attribution, stored.attribution)
    assert not [name for one in shown.values() for name in one.extra if name.startswith("map_")]
    postprocessed = {v: bb_lig(variant=v).postprocess_arguments for v in ("bb_lig", "lig", "bb_ig")}
    assert postprocessed == {"bb_lig": {"variant"}, "lig": set(), "bb_ig": set()}


def test_the_baseline_is_searched_on_one_side_with_all_steps():
    """As the published code: on both sides half of the steps would lie behind the image, and the nearest could be
    there."""
    reference = fit(bb_lig())
    ahead = bb_lig(n_search=128, reach=3.0, both_sides=True).alphas(reference)
    assert len(ahead) == 128 and float(ahead.min()) > 0 and float(ahead.max()) == 3.0
    assert bb_lig(n_search=4, reach=2.0, direction="h").alphas(reference).tolist() == [-2.0, -1.0, 1.0, 2.0]


def test_a_black_image_reaches_no_threshold():
    explainer = bb_lig(variant="bb_ig")
    assert bool(explained(explainer, linear(), reference=fit(explainer))[0].extra["reached"].isnan().all())


def test_plan_counts_what_is_done():
    from pomelo_lab.generator.base import EvaluationCounter
    from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
    from tests.explainer.linear import CODE
    from tests.generator.test_diffusion_autoencoder import TINY

    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    for variant in ("bb_lig", "difference", "lig", "bb_ig"):
        explainer = bb_lig(variant=variant, generator=real, n_renders=40, chunk=16, n_search=6, n_path=5)
        reference, batch = fit(explainer), images_of(2)
        box, before = view(linear(), explainer.access, 64), EvaluationCounter.n
        explainer.explain(Case(batch, torch.tensor([0, 1]), box, RandomStreams(0), reference=reference))
        assert (EvaluationCounter.n - before, box.queries) == (
            2 * explainer.cost(SHAPE).evaluations,
            2 * explainer.cost(SHAPE).queries,
        )


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("variant", ["bb_lig", "squared_difference", "lig", "bb_ig"])
def test_what_it_makes_can_be_stored(tmp_path, variant, n):
    """A shard holds no tensor twice: a map that was also an extra could not be written, and no job of the figure
    ended."""
    explainer = bb_lig(variant=variant)
    made, *_ = explained(explainer, linear(), n=n, reference=fit(explainer))
    write_shard(tmp_path / "shard.safetensors", Shard(made.tensors()))
    read = explainer.postprocess(Explanation.from_tensors(read_shard(tmp_path / "shard.safetensors").tensors))
    torch.testing.assert_close(read.attribution, explainer.postprocess(made).attribution)
