import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import LIMIT
from pomelo_lab.explainer.flow_counterfactual import FlowCounterfactualExplainer
from pomelo_lab.generator.glow import Glow
from tests.tiny import TinyLinear, tiny_batch

TINY = {"channels": 3, "size_px": 8, "n_flows": 2, "n_blocks": 2, "hidden": 8}


def flow():
    made = Glow(**TINY)
    rng = torch.Generator().manual_seed(1)
    for parameter in made.network.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    return made


GLOW = flow()


def explained(batch=None, batch_size=64, classifier=None, **options):
    batch = tiny_batch(3) if batch is None else batch
    box = view(
        classifier or TinyLinear.random(2, (3, 8, 8), seed=5, scale=0.1, dtype=torch.float64), "white_box", batch_size
    )
    target = box.probability(batch.image).argmax(1)
    explainer = FlowCounterfactualExplainer(**{"generator": GLOW, "n_steps": 40, "lr": 0.05, "sure": 0.9, **options})
    return explainer.explain(Case(batch, target, box, RandomStreams(0))), batch, box


def test_images_are_done_when_the_classifier_is_sure_and_not_later():
    explanation, batch, box = explained(n_steps=200)
    assert explanation.extra["flipped"].all() and (explanation.extra["goal_probability"] > 0.9).all()
    steps = explanation.extra["tries"]
    assert len(set(steps.tolist())) > 1 and (steps < 200).all() and (steps > 0).all()
    for row in range(3):
        before, *_ = explained(batch.select([row]), n_steps=int(steps[row]) - 1)
        assert float(before.extra["goal_probability"]) <= 0.9
        torch.testing.assert_close(
            explained(batch.select([row]), n_steps=int(steps[row]))[0].counterfactual[0],
            explanation.counterfactual[row],
            atol=1e-5,
            rtol=0,
        )


def test_torch_s_adam():
    explanation, batch, box = explained(batch=tiny_batch(3).select([1]), n_steps=4, sure=0.999)
    latent = GLOW.encode(batch.image).detach().requires_grad_(True)
    goal = explanation.extra["goal"].long()
    adam = torch.optim.Adam([latent], lr=0.05)
    for _ in range(4):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(box.logit(GLOW.decode(latent)), goal).backward()
        adam.step()
    torch.testing.assert_close(explanation.counterfactual, GLOW.decode(latent).detach().clamp(0, 1), atol=1e-5, rtol=0)


def test_no_steps_give_the_image_back():
    explanation, batch, _ = explained(n_steps=0)
    torch.testing.assert_close(
        explanation.counterfactual, GLOW.decode(GLOW.encode(batch.image)).detach(), atol=1e-6, rtol=0
    )
    assert explanation.extra["tries"].tolist() == [0, 0, 0] and not explanation.extra["flipped"].any()


def test_alone_and_in_any_batch():
    whole, batch, _ = explained()
    for size in (1, 2):
        torch.testing.assert_close(
            explained(batch_size=size)[0].counterfactual, whole.counterfactual, atol=1e-5, rtol=0
        )
    for i in range(3):
        torch.testing.assert_close(
            explained(batch.select([i]))[0].counterfactual[0], whole.counterfactual[i], atol=1e-5, rtol=0
        )


def test_of_three_classes_the_second_most_probable():
    classifier = TinyLinear.random(3, (3, 8, 8), scale=0.1, dtype=torch.float64)
    explanation, batch, box = explained(classifier=classifier)
    assert torch.equal(explanation.extra["goal"].long(), box.probability(batch.image).argsort(1, descending=True)[:, 1])
    with pytest.raises(ValueError, match="goal must be below 3, the number of classes, got 7"):
        explained(classifier=classifier, goal=7)


def test_the_loss_of_the_ascent_is_stored():
    """An image that never gets sure is still moving, one that is done is not; whatever the batch, there is a loss for
    every step."""
    slow, *_ = explained(n_steps=20, lr=1e-3, sure=0.999)
    assert slow.extra["loss"].shape == (3, 20) and (slow.extra["moving"] > LIMIT).all()
    done, *_ = explained(n_steps=200)
    assert done.extra["loss"].shape == (3, 200) and (done.extra["moving"] < LIMIT).all()
    for row, steps in enumerate(done.extra["tries"].int().tolist()):
        # -log 0.9
        assert len(set(done.extra["loss"][row, steps:].tolist())) == 1 and float(done.extra["loss"][row, -1]) < 0.1054
