"""DiME against a plain implementation of its loop on the same noise, its costs, its variants and what stays
independent."""

import math

import pytest
import torch
from torch import nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.layer_distance import PerceptualDistance
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.dime import DiMEExplainer
from pomelo_lab.explainer.guidance import Attempt
from pomelo_lab.generator.ancestral import Ancestral
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import betas, respace
from tests.explainer.gradients import TinyNetwork
from tests.tiny import TINY_UNET, TinyLinear, tiny_batch

TINY = TINY_UNET


def shaken():
    """A denoiser whose weights, those that start at zero too, are random."""
    made = DDPM(**TINY, prediction="epsilon", schedule="linear")
    rng = torch.Generator().manual_seed(1)
    for parameter in made.network.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return made


GENERATOR = shaken()


def features(seed=2):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNetwork(
            made=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(256, 2))
        )


def binary(scale=0.05):
    return TinyLinear.random(2, (3, 8, 8), seed=5, scale=scale, dtype=torch.float64)


def dime(**options):
    given = {
        "generator": GENERATOR,
        "perceptual": features(),
        "layers": ["1"],
        "perceptual_unit": "raw",
        "n_steps": 20,
        "tau": 6,
        "lambda_c": [8.0],
    }
    return DiMEExplainer(**{**given, **options})


def explained(explainer, n=3, classifier=None, batch=None, batch_size=64, seed=0):
    batch = tiny_batch(n) if batch is None else batch
    box = view(classifier or binary(), "white_box", batch_size)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(Case(batch, target, box, RandomStreams(seed))), batch, target, box


def plain(batch, goal, classifier, perceptual, scale, tau=6, lambda_p=30.0, lambda_l1=0.05, floor=True, layers=2):
    """One try as the reference code has it: guided diffusion's posterior on its own schedule, a loop per image, no
    shared helpers."""
    beta = betas("linear", 100)
    steps = [round(i * 99 / 19) for i in range(20)]  # space_timesteps(100, 20)
    bar = torch.cumprod(1 - beta, 0)[steps].double()
    before = torch.cat([torch.ones(1).double(), bar[:-1]])
    new_beta = 1 - bar / before
    variance = new_beta * (1 - before) / (1 - bar)
    if floor:
        variance[0] = variance[1]
    one, two = new_beta * before.sqrt() / (1 - bar), (1 - before) * (1 - new_beta).sqrt() / (1 - bar)
    made = []
    for row, name in enumerate(batch.image_id):
        streams, x = RandomStreams(0), 2 * batch.image[row : row + 1] - 1

        def normal(purpose, streams=streams, name=name):
            return streams.normal([name], purpose, 3, 8, 8)

        def model(z, i):
            with torch.no_grad():
                eps = GENERATOR.network(z.float(), torch.tensor([steps[i]])).sample
            x0 = ((z - (1 - bar[i]).sqrt() * eps) / bar[i].sqrt()).clamp(-1, 1)
            return one[i] * x0 + two[i] * z, variance[i]

        z = bar[tau].sqrt() * x + (1 - bar[tau]).sqrt() * normal("dime.start")
        clean = x
        for i in reversed(range(tau)):
            mean, var = model(z, i)
            at = clean.detach().float().requires_grad_(True)
            logits = classifier.logit((at + 1) / 2)[0]
            odds = logits[goal[row]] - logits[1 - goal[row]]
            net = perceptual.network[:layers]
            distance = (net(((at + 1) / 2).clamp(0, 1).double()) - net(((x + 1) / 2).double())).square().mean()
            g = torch.autograd.grad(-scale * odds + lambda_p * distance, at)[0] / bar[i].sqrt()
            g = g + lambda_l1 * torch.sign(z - x)
            z = mean - var * g
            if i:
                z = z + var.sqrt() * normal(f"dime.0.{i + 1}")
                clean = z
                for j in reversed(range(i)):
                    mean, inner = model(clean, j)
                    clean = mean + (inner.sqrt() * normal(f"dime.0.{i + 1}.{j + 1}") if j else 0)
        made.append((z + 1) / 2)
    return torch.cat(made)


def test_the_loop_of_the_reference_code():
    classifier, perceptual = binary(), features()
    box = view(classifier, "white_box", 64)
    batch = tiny_batch(3)
    goal = 1 - box.probability(batch.image).argmax(1)
    explainer = dime()
    case = Case(batch, None, box, RandomStreams(0))
    result = explainer.guide(Attempt(case, goal, PerceptualDistance(explainer.measure_distance), 8.0, 0))
    expected = plain(batch, goal, classifier, perceptual, 8.0)
    torch.testing.assert_close(result.double(), expected.double(), atol=1e-5, rtol=0)
    # the variance at t = 0 matters
    assert float((plain(batch, goal, classifier, perceptual, 8.0, floor=False) - expected).abs().max()) > 1e-5
    # so does the sign of the class term
    assert float((plain(batch, 1 - goal, classifier, perceptual, 8.0) - expected).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("options", "n"),
    [
        ({}, 21),
        ({"inner": "tweedie"}, 6),
        ({"inner": "ddim", "inner_steps": 2}, 6 + 1 + 2 * 4),
        ({"variant": "direct"}, 6),
        ({"variant": "naive"}, 6),
        ({"variant": "unconditional"}, 6),
        ({"tau": 4}, 10),
    ],
)
def test_evaluations_of_the_denoiser(options, n):
    """tau (tau + 1) / 2 for the paper's: 1,830 at 60."""
    before, explainer = EvaluationCounter.n, dime(**options)
    explained(explainer, n=2)
    assert (EvaluationCounter.n - before) / 2 == n == explainer.cost((3, 8, 8)).evaluations
    assert DiMEExplainer(generator=GENERATOR, lambda_c=[8.0]).cost((3, 8, 8)).evaluations == 1830


def test_variances_are_those_of_diffusers_but_for_the_last():
    from diffusers import DDPMScheduler

    beta = betas("linear", 100)
    schedule = respace(torch.cumprod(1 - beta, 0), 20, "linspace")
    scheduler = DDPMScheduler(100, trained_betas=beta.float().numpy(), variance_type="fixed_small", clip_sample=False)
    scheduler.set_timesteps(timesteps=list(reversed(schedule.timesteps)))
    chain = Ancestral(schedule)
    for k in range(2, 21):
        assert chain.variance(k) == pytest.approx(float(scheduler._get_variance(schedule.timesteps[k - 1])), rel=2e-4)
    assert chain.variance(1) == chain.variance(2)


def test_scales_are_tried_until_the_goal_is_reached_and_only_then():
    explanation, batch, _, box = explained(dime(lambda_c=[0.0, 500.0], lambda_p=0.0, lambda_l1=0.0), n=4)
    answer = box.probability(explanation.counterfactual)
    assert (
        explanation.extra["flipped"].tolist() == (answer.argmax(1) == explanation.extra["goal"].long()).float().tolist()
    )
    assert 2.0 in explanation.extra["tries"].tolist() and explanation.extra["flipped"].all()
    first, *_ = explained(dime(lambda_c=[0.0], lambda_p=0.0, lambda_l1=0.0), n=4)
    early = explanation.extra["tries"] == 1
    assert torch.equal(explanation.counterfactual[early], first.counterfactual[early])
    failed, *_ = explained(dime(lambda_c=[0.0, 0.0]), n=4)
    again = failed.extra["flipped"] == 0
    assert (failed.extra["tries"][again] == 2).all()


def test_variants():
    made = {v: explained(dime(variant=v))[0].counterfactual for v in ("dime", "direct", "naive", "unconditional")}
    values = list(made.values())
    assert all(float((a - b).abs().max()) > 1e-4 for i, a in enumerate(values) for b in values[:i])
    lazy = binary(0.0)  # never fooled: early stopping never stops
    same = [explained(dime(variant=v), classifier=lazy)[0].counterfactual for v in ("dime", "early_stop")]
    assert torch.equal(*same)
    assert explained(dime(variant="unconditional"))[0].extra["tries"].tolist() == [1, 1, 1]


def test_naive_takes_its_gradient_at_the_image_alone():
    """A linear classifier has one log-odds gradient everywhere: naive is dime without distances then."""
    linear = explained(dime(lambda_p=0.0, lambda_l1=0.0))[0].counterfactual
    torch.testing.assert_close(explained(dime(variant="naive"))[0].counterfactual, linear, atol=1e-5, rtol=0)


def test_a_mask_leaves_the_rest_to_the_image():
    explanation, batch, *_ = explained(dime(mask=0.25, lambda_c=[200.0]))
    changed = (explanation.counterfactual - batch.image).abs().amax(1) > 1e-5
    assert (changed.flatten(1).sum(1) <= 16).all() and changed.any()


def test_losses():
    logit, probability = (explained(dime(class_loss=c))[0].counterfactual for c in ("logit", "log_probability"))
    assert not torch.equal(logit, probability)
    sure = binary(scale=50.0)  # probabilities of 0 and 1: the logit still pushes
    explanation, *_ = explained(dime(class_loss="log_probability"), classifier=sure)
    assert explanation.counterfactual.isfinite().all()


def test_alone_and_in_any_batch():
    whole, batch, target, _ = explained(dime(lambda_c=[0.0, 50.0]))
    for size in (1, 2):
        small, *_ = explained(dime(lambda_c=[0.0, 50.0]), batch_size=size)
        torch.testing.assert_close(small.counterfactual, whole.counterfactual, atol=1e-5, rtol=0)
    for i in range(3):
        alone, *_ = explained(dime(lambda_c=[0.0, 50.0]), batch=batch.select([i]))
        torch.testing.assert_close(alone.counterfactual[0], whole.counterfactual[i], atol=1e-5, rtol=0)
    other, *_ = explained(dime(lambda_c=[0.0, 50.0]), seed=1)
    assert not torch.equal(other.counterfactual, whole.counterfactual)


def test_goals_and_messages():
    classifier = TinyLinear.random(3, (3, 8, 8), scale=0.05, dtype=torch.float64)
    explanation, batch, target, box = explained(dime(), classifier=classifier)
    order = box.probability(batch.image).argsort(1, descending=True)
    assert torch.equal(explanation.extra["goal"].long(), order[:, 1]) and torch.equal(explanation.target, order[:, 0])
    assert explained(dime(goal=2), classifier=classifier)[0].extra["goal"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="goal must be below 3"):
        explained(dime(goal=3), classifier=classifier)
    with pytest.raises(ValueError, match="tau must be below n_steps=20, got 20"):
        dime(tau=20)
    with pytest.raises(ValueError, match="lambda_c must hold one scale or more"):
        dime(lambda_c=[])
    assert not math.isnan(float(explanation.extra["goal_probability"].sum()))


class Pictures:
    """Eight images as a training set."""

    def __len__(self):
        return 8

    def order(self):
        return torch.arange(7, -1, -1)

    def unmasked(self, rows):
        return tiny_batch(8).select(rows)


def rescaled(factor):
    """The same features, larger: another network's units."""
    made = features()
    made.network = nn.Sequential(made.network[0], made.network[1], Times(factor), *made.network[2:])
    return made


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_the_weight_of_the_perceptual_term_does_not_depend_on_the_size_of_its_network_s_features():
    """A weight of 30 in units of VGG-19 does nothing in those of a small network; in units of pairs it is the same for
    both."""
    box = view(binary(), "white_box", 64)
    batch = tiny_batch(3)
    target = box.probability(batch.image).argmax(1)
    made = {}
    for factor in (1.0, 0.01):
        for unit in ("pairs", "raw"):
            explainer = dime(
                perceptual=rescaled(factor), layers=["2"], perceptual_unit=unit, n_pairs=4, lambda_c=[0.05]
            )
            made[factor, unit] = explainer.explain(
                Case(batch, target, box, RandomStreams(0), reference=explainer.fit(Pictures(), box))
            ).counterfactual
    none = explained(dime(perceptual=None, lambda_c=[0.05]), batch=batch)[0].counterfactual
    torch.testing.assert_close(made[1.0, "pairs"], made[0.01, "pairs"], atol=1e-5, rtol=0)
    assert float((made[0.01, "raw"] - none).abs().max()) < 1e-3 < float((made[0.01, "pairs"] - none).abs().max())
    with pytest.raises(ValueError, match="perceptual_unit=pairs needs reference"):
        explained(dime(perceptual_unit="pairs"))


def test_noise_as_a_level():
    """The paper's 60 of 200 steps of a linear chain of 500 begin at 0.78, wherever that is in another chain."""
    linear = DDPM(**{**TINY, "n_timesteps": 500}, prediction="epsilon", schedule="linear")
    cosine = DDPM(**{**TINY, "n_timesteps": 1000}, prediction="epsilon", schedule="cosine")
    assert (
        DiMEExplainer(generator=linear, tau_sigma=0.78).n_steps_taken
        == DiMEExplainer(generator=linear).n_steps_taken
        == 60
    )
    assert DiMEExplainer(generator=cosine, n_steps=50, tau=20, tau_sigma=0.78).n_steps_taken == 28
    explainer = DiMEExplainer(generator=cosine, n_steps=50, tau_sigma=0.78, inner="tweedie", lambda_c=[8.0])
    assert explainer.cost((3, 8, 8)).evaluations == 28
    assert torch.equal(
        explained(dime(tau_sigma=(1 - dime().schedule.alphas_cumprod[7]) ** 0.5))[0].counterfactual,
        explained(dime())[0].counterfactual,
    )


def test_which_scale_reached_the_goal():
    made, *_ = explained(dime(lambda_c=[0.0, 500.0], lambda_p=0.0, lambda_l1=0.0), n=4)
    assert made.extra["scale"].tolist() == [500.0 * (tries - 1) for tries in made.extra["tries"].tolist()]


def test_the_squared_distance_of_the_code():
    """Its gradient is twice the difference: with a classifier that says nothing, more of it keeps the image nearer."""
    still = binary(0.0)
    far = [
        float((actual.counterfactual - batch.image).square().mean())
        for weight in (0.0, 0.1, 0.5)
        for actual, batch, *_ in [explained(dime(lambda_l2=weight, lambda_l1=0.0, perceptual=None), classifier=still)]
    ]
    assert far[0] > far[1] > far[2]


def test_learned_variances():
    """A network whose extra channels say "the posterior's" gives the chain of fixed variances; others move the
    chain."""
    plain_one, made = shaken(), []
    for value in (-1.0, 1.0):
        learned = DDPM(**TINY, prediction="epsilon", schedule="linear", variance="learned")
        state = {**plain_one.network.state_dict()}
        for name in ("conv_out.weight", "conv_out.bias"):
            more = torch.zeros_like(state[name]) if name.endswith("weight") else torch.full_like(state[name], value)
            state[name] = torch.cat([state[name], more])
        learned.network.load_state_dict(state)
        made.append(explained(dime(generator=learned))[0].counterfactual)
    torch.testing.assert_close(made[0], explained(dime(generator=plain_one))[0].counterfactual, atol=1e-5, rtol=0)
    assert float((made[1] - made[0]).abs().max()) > 1e-3
