"""GCD: the line search by its rules, what it costs and what is refused; black boxes throughout."""

import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.layer_distance import unit_distance
from pomelo_lab.config.signature import node_problems
from pomelo_lab.engine.store import Shard, read_shard, write_shard
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gcd import GCDExplainer
from pomelo_lab.explainer.proxy import Proxy
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.types import Explanation
from tests.explainer.linear import CODE, COMMON, SHAPE, explained, fit, gcd, images_of, linear
from tests.generator.test_diffusion_autoencoder import TINY
from tests.tiny import TinyLinear, tiny_batch


def test_rules():
    explainer = gcd()
    loss = torch.tensor([[3.0, 1.0, 2.0, 0.5], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    reached = torch.tensor([[True, True, False, False], [False, False, False, False], [False, True, True, False]])
    length = torch.tensor([2.0, 1.0, 0.5, 1.5])
    assert explainer.choose_step(loss, reached, length).tolist() == [3, 3, 0]
    assert gcd(rule="first_flip").choose_step(loss, reached, length).tolist() == [1, 3, 2]
    assert gcd(rule="best_flip").choose_step(loss, reached, length).tolist() == [1, 3, 1]


def test_alphas():
    """On both sides only where a direction has no sign, unless told otherwise; h-directions are ranked by their own
    steps, whoever walks."""
    ahead, both, reference = [1.0, 2.0], [-2.0, -1.0, 1.0, 2.0], {"reach": torch.tensor(2.0)}
    sides = [
        ("g", None, ahead),
        ("h", None, both),
        ("random", None, ahead),
        ("random", True, both),
        ("g", True, both),
        ("h", False, ahead),
    ]
    for direction, both_sides, wanted in sides:
        assert (
            gcd(n_alphas=2, reach=9.0, direction=direction, both_sides=both_sides).alphas(reference).tolist() == wanted
        )
    assert gcd(n_alphas=2).steps("h", 2.0).tolist() == both


def test_order_by_flips():
    """Shares of the images after the source that change class somewhere along each direction, by hand; the best one
    first."""
    plain_order, ranked = fit(gcd()), fit(gcd(order="flips", n_rank=5))
    explainer, box, batch = gcd(), view(linear(), "black_box", 64), images_of(12).select(list(range(1, 6)))
    code, noise = explainer.encode(batch.image)
    was, rates = box.probability(batch.image).argmax(1), []
    for line in plain_order["h_class"]:
        flips = 0
        for i in range(5):
            made = [
                explainer.render(code[i : i + 1], noise[i : i + 1], (a * line)[None])[0]
                for a in explainer.steps("h", 6.0)
            ]
            flips += bool((box.probability(torch.stack(made)).argmax(1) != was[i]).any())
        rates.append(flips / 5)
    assert ranked["rate"].tolist() == pytest.approx(sorted(rates, reverse=True))
    best = ranked["h_class"][0]
    assert any(
        torch.equal(best, line) for line, rate in zip(plain_order["h_class"], rates, strict=True) if rate == max(rates)
    )
    torch.testing.assert_close(ranked["g"], plain_order["g"])


class Ninefold(GCDExplainer):
    """Sees every distance nine times as large."""

    @property
    def between(self):
        plain_distance = GCDExplainer.between.func(self)
        return lambda one, other: 9 * plain_distance(one, other)


def test_weights_do_not_depend_on_the_size_of_a_network_s_distances():
    """The distance is 1 between two training images, whatever its network makes of it."""
    plain, ninefold = gcd(), Ninefold(**COMMON)
    first, other = fit(plain), fit(ninefold)
    pairs = images_of(12).image
    unit = float(unit_distance(COMMON["perceptual"], ["1"], pairs[:6], pairs[6:]).mean())
    assert float(first["unit"]) == pytest.approx(unit, rel=1e-5) and float(other["unit"]) == pytest.approx(
        9 * unit, rel=1e-5
    )
    torch.testing.assert_close(first["g"], other["g"], atol=1e-4, rtol=0)
    chosen, others = explained(plain, first)[0], explained(ninefold, other)[0]
    torch.testing.assert_close(chosen.extra["distance"], others.extra["distance"], atol=1e-4, rtol=0)
    assert chosen.extra["alpha"].tolist() == others.extra["alpha"].tolist()


def test_random_directions():
    """Unit vectors by seed and index, the same whatever was found; both sides; and g flips more than they do."""
    reference, goal = fit(gcd()), torch.tensor([0, 1])
    lines = gcd(direction="random", index=[0, 3]).lines(goal, reference)
    torch.testing.assert_close(lines.norm(dim=2), torch.ones(2, 2))
    torch.testing.assert_close(lines[0], -lines[1])
    elsewhere = fit(gcd(), classifier=linear(6))
    signs = [1.0 if int(case["class"]) == 0 else -1.0 for case in (reference, elsewhere)]
    again = gcd(direction="random", index=[3]).lines(goal, elsewhere)
    torch.testing.assert_close(signs[0] * lines[0, 1], signs[1] * again[0, 0])
    assert not torch.equal(lines, gcd(direction="random", index=[0, 3], seed=1).lines(goal, reference))
    near = {**reference, "reach": torch.tensor(2.0)}
    rates = [float(explained(gcd(direction=d, index=[0]), near)[0].extra["anywhere"].mean()) for d in ("g", "random")]
    assert rates[0] > rates[1]
    assert 0 <= float(explained(gcd(direction="random"), reference)[0].extra["cosine"][0]) < 1


def test_rules_choose_among_one_set_of_renders():
    """What a stored explanation shows by each rule is what the rule chooses by itself."""
    reference = fit(gcd())
    stored = explained(gcd(), reference)[0]
    for rule in ("argmin", "first_flip", "best_flip"):
        alone, shown = explained(gcd(rule=rule), reference)[0], gcd(rule=rule).postprocess(stored)
        torch.testing.assert_close(shown.counterfactual, alone.counterfactual, atol=0, rtol=0)
        torch.testing.assert_close(shown.attribution, alone.attribution, atol=1e-6, rtol=0)
        for name in ("alpha", "at_end", "used", "flipped", "goal_probability", "cosine"):
            assert shown.extra[name].tolist() == alone.extra[name].tolist()
        assert not [name for name in shown.extra if name.startswith("choice_")]


@pytest.mark.parametrize("n", [1, 3])
def test_what_it_makes_can_be_stored(tmp_path, n):
    """A shard holds no tensor twice, of a single image neither."""
    explainer = gcd(rule="best_flip")
    made, *_ = explained(explainer, fit(explainer), n=n)
    write_shard(tmp_path / "shard.safetensors", Shard(made.tensors()))
    read = explainer.postprocess(Explanation.from_tensors(read_shard(tmp_path / "shard.safetensors").tensors))
    torch.testing.assert_close(read.counterfactual, made.counterfactual)
    assert read.extra["alpha"].tolist() == made.extra["alpha"].tolist()


def test_several_directions_give_the_best_of_each():
    reference = fit(gcd())
    alone = [explained(gcd(direction="h", index=[i]), reference)[0] for i in range(3)]
    together = explained(gcd(direction="h", index=[0, 1, 2]), reference)[0]
    loss = torch.stack([(-0.05 * e.extra["score"] + e.extra["distance"]).min(1).values for e in alone])
    assert together.extra["used"].tolist() == loss.argmin(0).float().tolist()
    for row, which in enumerate(loss.argmin(0).tolist()):
        torch.testing.assert_close(together.counterfactual[row], alone[which].counterfactual[row])


def test_results_do_not_depend_on_the_batch():
    reference = fit(gcd())
    whole, *_ = explained(gcd(), reference)
    one, *_ = explained(gcd(), reference, batch_size=1, batch=images_of(6).select([4]))
    torch.testing.assert_close(one.counterfactual[0], whole.counterfactual[4], atol=1e-5, rtol=0)
    assert one.extra["alpha"][0] == whole.extra["alpha"][4]


def test_goals_other_than_the_source_s_class():
    reference = {**fit(gcd()), "class": torch.tensor(0)}
    three = TinyLinear.random(3, SHAPE, seed=5, scale=0.05, dtype=torch.float64)
    target = torch.tensor([0, 1, 2])
    case = Case(tiny_batch(3), target, view(three, "black_box", 8), reference=reference)
    goal = gcd().goals(case)
    assert goal[1:].tolist() == [0, 0] and goal[0] != 0
    with pytest.raises(ValueError, match=r"explainer\.goal must be 0"):
        gcd(goal=1).goals(case)


def test_plan_counts_what_is_done():
    explainer = gcd(fixed_point=2, n_invert=4, n_render=4, n_alphas=6, index=[0, 1])
    assert gcd(fixed_point=2, n_alphas=6, both_sides=True).cost(SHAPE).evaluations == 4 * 3 + 2 * 6 * 4
    assert explainer.cost(SHAPE).evaluations == 4 * 3 + 2 * 6 * 4 and explainer.cost(SHAPE).queries == 13
    reference = fit(explainer)
    *_, box, _ = explained(explainer, reference, n=2)
    assert box.queries == 2 * (1 + explainer.cost(SHAPE).queries)  # one more for the target


def test_the_real_autoencoder_runs_through():
    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    explainer = gcd(generator=real, n_renders=40, chunk=16)
    reference = fit(explainer)
    assert reference["reconstruction"].shape == SHAPE and bool(reference["g"].isfinite().all())
    explanation, *_ = explained(explainer, reference, n=2)
    assert explanation.counterfactual.shape == (2, *SHAPE)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"index": [2]}, "index must name directions 0..1"),
        ({"direction": "h", "index": [3]}, "directions 0..2"),
        ({"index": []}, "index"),
        ({"n_render": 5}, "n_render must be n_invert=4"),
        ({"g_weights": [[1.0]]}, "pairs"),
        ({"proxy": Proxy(standardize=False)}, "proxy.standardize"),
    ],
)
def test_refused(changes, named):
    with pytest.raises(ValueError, match=named.split("=")[0]):
        gcd(**changes)


def test_yaml_is_complete():
    assert node_problems({"_target_": "pomelo_lab.explainer.gcd.GCDExplainer", "rule": "nearest"}, "explainer")
