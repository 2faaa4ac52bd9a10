"""ACE against plain loops on the same noise: gradient, attack, mask, refinement; what is kept, refused, independent and
counted."""

from dataclasses import replace

import pytest
import torch

from pomelo_lab.explainer.ace import ACEExplainer
from pomelo_lab.explainer.convergence import still_moving
from pomelo_lab.generator.base import EvaluationCounter
from tests.explainer.plain_ace import (
    EXACT,
    GENERATOR,
    SHAPE,
    TAU,
    ace,
    binary,
    case_of,
    explained,
    plain_attack,
    plain_gradient,
    plain_keep,
    plain_refined,
    setting,
    through,
)
from tests.tiny import TinyLinear, tiny_batch


@pytest.mark.parametrize("weights", [(0.0, 0.0), (0.01, 0.0), (0.0, 0.02), (0.01, 0.02)])
def test_one_gradient_of_the_attack(weights):
    batch, goal, box = setting()
    at = (batch.image + 0.03 * torch.randn(batch.image.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1)
    explainer = ace(lambda_l1=weights[0], lambda_l2=weights[1])
    noise = explainer.noise(case_of(batch))
    slope, odds, loss = explainer.gradient(at, batch.image, goal, box, lambda name: noise(f"0.{name}"))
    for row, name in enumerate(batch.image_id):
        expected = plain_gradient(at[row : row + 1], batch.image[row : row + 1], name, 0, goal[row], binary(), *weights)
        torch.testing.assert_close(slope[row : row + 1], expected, atol=1e-7, rtol=1e-4)
        assert float(expected.abs().max()) > 1e-3  # or the tolerance would say nothing
        logit = binary().logit(through(at[row : row + 1], name, 0))[0]
        torch.testing.assert_close(
            odds[row].double(), (logit[goal[row]] - logit[1 - goal[row]]).double(), atol=1e-5, rtol=0
        )


def test_a_float32_denoiser_has_the_same_gradient():
    batch, goal, box = setting()
    slopes = []
    for generator in (GENERATOR, EXACT):
        explainer = ace(generator=generator)
        slopes.append(explainer.gradient(batch.image, batch.image, goal, box, explainer.noise(case_of(batch)))[0])
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("eps", [255.0, 9.0])
def test_attack(eps):
    batch, goal, box = setting()
    attacked_images, tries, _ = ace(eps=eps).attack(case_of(batch, box), goal)
    torch.testing.assert_close(attacked_images, plain_attack(batch, goal, binary(), eps=eps), atol=1e-5, rtol=0)
    assert tries.tolist() == [6, 6, 6] and float((attacked_images - batch.image).abs().max()) <= eps / 255 + 1e-6
    # a wrong sign would show
    assert float((plain_attack(batch, goal, binary(), eps=eps, sign=-1.0) - attacked_images).abs().max()) > 0.03
    assert bool((box.log_odds(attacked_images, goal) > box.log_odds(batch.image, goal) + 0.05).all())


@pytest.mark.parametrize(("threshold", "side"), [(0.15, 3), (0.5, 1), (0.6, 5), (0.0, 3), (1.0, 3)])
def test_mask(threshold, side):
    image = tiny_batch(3).image
    rng = torch.Generator().manual_seed(4)
    attacked = image + torch.rand(image.shape, generator=rng) * (torch.rand(3, 1, 8, 8, generator=rng) < 0.1)
    keep_mask = ace(threshold=threshold, dilation_px=side).keep_mask(image, attacked)
    assert torch.equal(keep_mask, plain_keep(image, attacked, threshold, side))
    assert 0 < int(keep_mask.sum()) < keep_mask.numel() or threshold in (0.0, 1.0)


def test_refinement():
    batch, goal, box = setting()
    attacked = plain_attack(batch, goal, binary())
    keep = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(6)) < 0.5
    explainer = ace()
    refined_image = explainer.refine(batch.image, attacked, keep, explainer.noise(case_of(batch)))
    torch.testing.assert_close(refined_image, plain_refined(batch, attacked, keep).float(), atol=1e-5, rtol=0)
    kept = keep.expand_as(refined_image)
    assert torch.equal(refined_image[kept], batch.image[kept])
    other = explainer.refine(batch.image, attacked, torch.zeros_like(keep), explainer.noise(case_of(batch)))
    assert float((other - refined_image)[~kept].abs().max()) > 1e-3  # what is known tells the rest


def test_the_whole_method():
    explainer = ace(threshold=0.6, dilation_px=1)
    explanation, batch, target, box = explained(explainer)
    goal = 1 - target
    attacked = plain_attack(batch, goal, binary())
    keep = plain_keep(batch.image, attacked, 0.6, 1)
    torch.testing.assert_close(
        explanation.counterfactual, plain_refined(batch, attacked, keep).float(), atol=1e-5, rtol=0
    )
    assert (
        torch.equal(explanation.extra["free"], (~keep).float().mean((1, 2, 3)))
        and 0 < float(explanation.extra["free"].min()) < 1
    )
    kept = keep.expand_as(batch.image)
    assert torch.equal(explanation.counterfactual[kept], batch.image[kept])
    assert float(explanation.attribution[keep[:, 0]].abs().max()) == 0
    answer = box.probability(explanation.counterfactual)
    assert torch.equal(explanation.extra["goal_probability"], answer.gather(1, goal[:, None])[:, 0])
    assert explanation.extra["flipped"].tolist() == (answer.argmax(1) == goal).float().tolist()


def test_images_reach_the_other_class():
    """Without its attack the method leaves them where they were."""
    strong, still = (explained(ace(n_attack=n, step=8.0, lambda_l1=0.0, threshold=0.0))[0] for n in (12, 0))
    assert strong.extra["flipped"].tolist() == [1.0] * 3 and still.extra["flipped"].tolist() == [0.0] * 3


@pytest.mark.parametrize("weights", [{"lambda_l1": 1e4}, {"lambda_l2": 1e4}])
def test_distances_hold_the_image(weights):
    """Every second step goes back: the class gradient rules only where the distance has none, at the image itself."""
    batch = replace(tiny_batch(3), image=0.3 + 0.4 * tiny_batch(3).image)
    _, goal, box = setting()
    one, two = (ace(n_attack=n, **weights).attack(case_of(batch, box), goal)[0] for n in (1, 2))
    assert float((one - batch.image).abs().max()) == pytest.approx(4 / 255, abs=1e-6)
    torch.testing.assert_close(two, batch.image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("options", [{"n_attack": 0}, {"lambda_l1": 0.0}, {"lambda_l2": 1.0}, {"threshold": 0.0}])
def test_an_unchanged_image_stays(options):
    """Whether nothing attacks or the classifier has no gradient."""
    explanation, batch, *_ = explained(ace(**options), classifier=binary(0.0))
    assert torch.equal(explanation.counterfactual, batch.image)
    assert explanation.extra["free"].tolist() == [0, 0, 0] and not explanation.extra["flipped"].any()
    assert all(value.isfinite().all() for value in explanation.extra.values())


def test_attacks_end_when_they_are_sure():
    batch, goal, box = setting()
    options = {"n_attack": 20, "lambda_l1": 0.0}
    attacked_images, tries, loss = ace(sure=0.6, **options).attack(case_of(batch, box), goal)
    assert (tries < 20).all() and len(set(tries.tolist())) > 1
    for row, n in enumerate(tries.int().tolist()):
        alone, *_ = ace(**{**options, "n_attack": n}).attack(case_of(batch.select([row]), box), goal[[row]])
        torch.testing.assert_close(alone[0], attacked_images[row], atol=1e-6, rtol=0)
        with torch.no_grad():
            assert float(box.log_odds(through(alone, batch.image_id[row], n), goal[[row]]).sigmoid()) > 0.6
    explainer = ace(sure=0.6, **options)
    torch.testing.assert_close(explained(explainer)[0].extra["tries"], tries)


def test_alone_and_in_any_batch_and_order():
    whole, batch, *_ = explained(ace(sure=0.55), n=4)
    for size in (1, 9):
        small, *_ = explained(ace(sure=0.55), n=4, batch_size=size)
        torch.testing.assert_close(small.counterfactual, whole.counterfactual, atol=1e-5, rtol=0)
    order = [2, 0, 3, 1]
    turned, *_ = explained(ace(sure=0.55), batch=batch.select(order))
    torch.testing.assert_close(turned.counterfactual, whole.counterfactual[order], atol=1e-5, rtol=0)
    for i in range(4):
        alone, *_ = explained(ace(sure=0.55), batch=batch.select([i]))
        torch.testing.assert_close(alone.counterfactual[0], whole.counterfactual[i], atol=1e-5, rtol=0)
    other, *_ = explained(ace(sure=0.55), n=4, seed=1)
    assert not torch.equal(other.counterfactual, whole.counterfactual)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_costs_are_those_of_the_plan(checkpoint):
    explainer = ace(generator=GENERATOR, checkpoint=checkpoint)
    before = EvaluationCounter.n
    _, _, _, box = explained(explainer, n=2)
    assert (
        (EvaluationCounter.n - before) / 2
        == explainer.cost(SHAPE).evaluations
        == (6 * (2 if checkpoint else 1) + 1) * TAU
    )
    assert box.queries == 2 * (1 + explainer.cost(SHAPE).queries)  # one more for the target
    assert ACEExplainer(generator=GENERATOR).cost(SHAPE).evaluations == 50 * 5 + 5


def test_checkpoints_change_no_number():
    one, two = (explained(ace(checkpoint=c))[0] for c in (False, True))
    torch.testing.assert_close(one.counterfactual, two.counterfactual, atol=1e-6, rtol=0)


def test_images_at_once():
    """Each remembers tau evaluations, or one."""
    sizes = []
    handle = GENERATOR.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])), prepend=True)
    try:
        for checkpoint in (False, True):
            explained(ace(generator=GENERATOR, n_attack=1, checkpoint=checkpoint), n=8, batch_size=8)
    finally:
        handle.remove()
    assert set(sizes[: 8 * TAU // 2]) == {2} and sizes[-1] == 8


def test_goals_and_messages():
    classifier = TinyLinear.random(3, SHAPE, scale=0.05, dtype=torch.float64)
    explanation, batch, target, box = explained(ace(n_attack=1), classifier=classifier)
    assert torch.equal(explanation.extra["goal"].long(), box.probability(batch.image).argsort(1, descending=True)[:, 1])
    with pytest.raises(ValueError, match="explainer.goal must be below 3, the number of classes, got 3"):
        explained(ace(goal=3), classifier=classifier)
    with pytest.raises(ValueError, match="explainer.tau must be at most n_steps=20, got 21"):
        ace(tau=21)
    with pytest.raises(ValueError, match="explainer.dilation_px must be odd, got 4"):
        ace(dilation_px=4)
    with pytest.raises(ValueError, match="explainer.threshold must be <= 1, got 1.5"):
        ace(threshold=1.5)
    with pytest.raises(ValueError, match="n_steps must be in 1..100, the timesteps of the chain, got 101"):
        explained(ace(n_steps=101))


def test_the_objective_of_the_attack_is_stored():
    """Whether the attack was still getting anywhere when it was stopped; an attack that has ended keeps its last
    loss."""
    explanation, *_ = explained(ace(n_attack=10))
    assert explanation.extra["loss"].shape == (3, 10) and torch.equal(
        explanation.extra["moving"], still_moving(explanation.extra["loss"])
    )
    assert explanation.extra["loss"][:, -1].mean() < explanation.extra["loss"][:, 0].mean()  # each step has new noise
    ended, *_ = explained(ace(n_attack=10, sure=0.6))
    for row, tries in enumerate(ended.extra["tries"].int().tolist()):
        torch.testing.assert_close(
            ended.extra["loss"][row, : tries + 1], explanation.extra["loss"][row, : tries + 1], atol=1e-5, rtol=0
        )
        assert len(set(ended.extra["loss"][row, tries:].tolist())) <= 1
    assert "moving" not in explained(ace(n_attack=1))[0].extra
