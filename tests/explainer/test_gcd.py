"""Global directions: the search on linear generators, the line search by its rules, what is shared, resumed and refused; black boxes throughout."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.layer_distance import layer_distance
from pomelo_lab.config.signature import node_problems
from pomelo_lab.explainer.direction_search import log_odds
from pomelo_lab.explainer.gcd import GCDExplainer
from pomelo_lab.explainer.proxy import Proxy
from pomelo_lab.generator.base import Tally
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.results.store import Shard, read_shard, write_shard
from pomelo_lab.types import Explanation
from tests.explainer.gradients import TinyNetwork
from tests.generator.test_diffusion_autoencoder import TINY
from tests.tiny import TinyLinear, tiny_batch

SHAPE, CODE = (3, 8, 8), 5
BASIS = 0.05 * torch.randn(CODE, math.prod(SHAPE), generator=torch.Generator().manual_seed(4))


class LinearAutoencoder(DiffusionAutoencoder):
    """G(z) = noise + W z: the code is the projection on W, the noise what is left."""

    def encoded(self, images):
        return images.flatten(1) @ torch.linalg.pinv(BASIS)

    def noise_of(self, images, code, n_steps, fixed_point=2, published=False):
        return images - (code @ BASIS).reshape(images.shape)

    def render(self, code, noise, n_steps, published=False):
        return (noise + (code @ BASIS).reshape(noise.shape)).clamp(0, 1)


def linear(seed=5, scale=0.3):
    return TinyLinear.random(2, SHAPE, seed=seed, scale=scale, dtype=torch.float64)



def features():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return TinyNetwork(made=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(256, 2)))


GENERATOR = LinearAutoencoder(**{**TINY, "channels": 3, "code": CODE})
COMMON = {"generator": GENERATOR, "perceptual": features(), "layers": ["1"], "n_renders": 1500, "chunk": 256, "radius": 1.0, "n_h": 3,
          "proxy": Proxy(widths=[32], lr=1e-2), "n_invert": 4, "n_render": 4, "reach": 6.0, "n_alphas": 12}  # fmt: skip


def gcd(**options):
    return GCDExplainer(**{**COMMON, **options})


def images_of(n):
    """Away from 0 and 1, where clamping would bend a linear generator."""
    batch = tiny_batch(n)
    return replace(batch, image=0.3 + 0.4 * batch.image)


class Faces:
    """Twelve images as a training set."""

    shape = SHAPE

    def __len__(self):
        return 12

    def order(self):
        return torch.arange(12)

    def unmasked(self, rows):
        return images_of(12).select(rows)


def fit(explainer, classifier=None, **more):
    return explainer.fit(Faces(), view(classifier or linear(), "black_box", 64), **more)


def explained(explainer, reference, n=6, classifier=None, batch_size=64, batch=None):
    batch = images_of(n) if batch is None else batch
    box = view(classifier or linear(), "black_box", batch_size)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(batch, target, box, Streams(0), reference=reference), target, box, batch


def known_direction(classifier, own):
    """Gradient of the source class's log-odds through a linear generator: W (w_own - w_other)."""
    weight = classifier.weight.float().reshape(2, -1)
    return nn.functional.normalize(BASIS @ (weight[own] - weight[1 - own]), dim=0)


@pytest.mark.parametrize("sampling", ["uniform_radius", "uniform_ball"])
def test_linear_generator_and_classifier(sampling):
    """g is parallel to W'w, all images flip, on the shorter side, and the score falls along the line."""
    explainer = gcd(sampling=sampling, loss_weights=[1.0, 0.0])
    reference = fit(explainer)
    own = int(reference["class"])
    assert float(nn.functional.cosine_similarity(reference["g"][0], known_direction(linear(), own), dim=0)) > 0.99
    assert float(reference["explained"][0]) > 0.95
    found, target, _, batch = explained(explainer, reference)
    assert found.extra["flipped"].tolist() == [1.0] * 6
    moved = found.counterfactual - batch.image
    along = (moved.flatten(1) @ (linear().weight[own] - linear().weight[1 - own]).float().flatten()).sign()
    assert along.tolist() == torch.where(target == own, -1.0, 1.0).tolist()
    score = found.extra["score"]
    assert bool((score.diff(dim=1) > -1e-4).all())  # alphas run towards the goal


def test_displacements_by_their_laws():
    explainer = gcd(chunk=4000, radius=2.0)
    shift = explainer.displacements(0, 8)
    from scipy.stats import kstest

    assert kstest((shift.norm(dim=1) / 2).numpy(), "uniform").pvalue > 0.01
    unit = nn.functional.normalize(shift, dim=1)
    assert float(unit.mean(0).norm()) < 0.05 and float((unit.T @ unit / 4000 - torch.eye(8) / 8).abs().max()) < 0.02
    ball = gcd(chunk=4000, radius=2.0, sampling="uniform_ball").displacements(0, 8)
    assert kstest(((ball.norm(dim=1) / 2) ** 8).numpy(), "uniform").pvalue > 0.01
    assert not torch.equal(shift, explainer.displacements(1, 8)) and not torch.equal(shift, gcd(chunk=4000, radius=2.0, seed=1).displacements(0, 8))


def test_rules():
    explainer = gcd()
    loss = torch.tensor([[3.0, 1.0, 2.0, 0.5], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    reached = torch.tensor([[True, True, False, False], [False, False, False, False], [False, True, True, False]])
    length = torch.tensor([2.0, 1.0, 0.5, 1.5])
    assert explainer.chosen(loss, reached, length).tolist() == [3, 3, 0]
    assert gcd(rule="first_flip").chosen(loss, reached, length).tolist() == [1, 3, 2]
    assert gcd(rule="best_flip").chosen(loss, reached, length).tolist() == [1, 3, 1]


def test_alphas():
    """On both sides only where a direction has no sign, unless told otherwise; h-directions are ranked by their own steps, whoever walks."""
    ahead, both, reference = [1.0, 2.0], [-2.0, -1.0, 1.0, 2.0], {"reach": torch.tensor(2.0)}
    sides = [("g", None, ahead), ("h", None, both), ("random", None, ahead), ("random", True, both), ("g", True, both), ("h", False, ahead)]
    for direction, both_sides, wanted in sides:
        assert gcd(n_alphas=2, reach=9.0, direction=direction, both_sides=both_sides).alphas(reference).tolist() == wanted
    assert gcd(n_alphas=2).steps("h", 2.0).tolist() == both


def test_order_by_flips():
    """Shares of the images after the source that change class somewhere along each direction, by hand; the best one first."""
    plain_order, ranked = fit(gcd()), fit(gcd(order="flips", n_rank=5))
    explainer, box, batch = gcd(), view(linear(), "black_box", 64), images_of(12).select(list(range(1, 6)))
    code, noise = explainer.encoded(batch.image)
    was, rates = box.probability(batch.image).argmax(1), []
    for line in plain_order["h_class"]:
        flips = 0
        for i in range(5):
            made = [explainer.drawn(code[i : i + 1], noise[i : i + 1], (a * line)[None])[0] for a in explainer.steps("h", 6.0)]
            flips += bool((box.probability(torch.stack(made)).argmax(1) != was[i]).any())
        rates.append(flips / 5)
    assert ranked["rate"].tolist() == pytest.approx(sorted(rates, reverse=True))
    best = ranked["h_class"][0]
    assert any(torch.equal(best, line) for line, rate in zip(plain_order["h_class"], rates, strict=True) if rate == max(rates))
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
    unit = float(layer_distance(COMMON["perceptual"], ["1"], pairs[:6], pairs[6:]).mean())
    assert float(first["unit"]) == pytest.approx(unit, rel=1e-5) and float(other["unit"]) == pytest.approx(9 * unit, rel=1e-5)
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
    signs = [1.0 if int(found["class"]) == 0 else -1.0 for found in (reference, elsewhere)]
    again = gcd(direction="random", index=[3]).lines(goal, elsewhere)
    torch.testing.assert_close(signs[0] * lines[0, 1], signs[1] * again[0, 0])
    assert not torch.equal(lines, gcd(direction="random", index=[0, 3], seed=1).lines(goal, reference))
    near = {**reference, "reach": torch.tensor(2.0)}
    rates = [float(explained(gcd(direction=d, index=[0]), near)[0].extra["anywhere"].mean()) for d in ("g", "random")]
    assert rates[0] > rates[1]
    assert 0 <= float(explained(gcd(direction="random"), reference)[0].extra["cosine"][0]) < 1


def test_the_reach_ends_where_random_directions_flip():
    """By hand: of the walks from the images after the source, both ways, the share that changed class by each step."""
    explainer = gcd(random_flips=0.3, n_rank=4, reach=9.0)
    box, batch = view(linear(), "black_box", 64), images_of(12).select([1, 2, 3, 4])
    code, noise = explainer.encoded(batch.image)
    was, flips = box.probability(batch.image).argmax(1), torch.zeros(4, 2, 12)
    for row in range(4):
        lines = nn.functional.normalize(Streams(0).normal([f"reach.{row}"], "gcd.random", 2, CODE)[0], dim=1)
        for k, line in enumerate(lines):
            for step in range(12):
                shift = torch.stack([-line, line]) * 9.0 * (step + 1) / 12
                answer = box.probability(explainer.drawn(code[row : row + 1], noise[row : row + 1], shift)).argmax(1)
                flips[row, k, step] = bool((answer != was[row]).any())
    rates = flips.cummax(2).values.mean((0, 1))
    wanted = max(int((rates <= 0.3).sum()), 1) * 9.0 / 12
    assert float(fit(explainer)["reach"]) == pytest.approx(wanted) and rates[-1] > 0.3
    made, *_ = explained(explainer, fit(explainer))
    assert float(made.extra["alpha"].max()) <= wanted + 1e-5 and made.extra["reach"].tolist() == pytest.approx([wanted] * 6)
    assert float(fit(gcd(reach=9.0))["reach"]) == 9.0


def test_rules_choose_among_one_set_of_renders():
    """What a stored explanation shows by each rule is what the rule chooses by itself."""
    reference = fit(gcd())
    stored = explained(gcd(), reference)[0]
    for rule in ("argmin", "first_flip", "best_flip"):
        alone, shown = explained(gcd(rule=rule), reference)[0], gcd(rule=rule).shown(stored)
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
    read = explainer.shown(Explanation.of(read_shard(tmp_path / "shard.safetensors").tensors))
    torch.testing.assert_close(read.counterfactual, made.counterfactual)
    assert read.extra["alpha"].tolist() == made.extra["alpha"].tolist()


def test_a_search_that_explains_nothing_says_so(caplog):
    made = fit(gcd(proxy=Proxy(widths=[4], n_epochs=1, lr=1e-6)))
    assert float(made["explained"][int(made["class"])]) < 0.2 and "hardly better than random" in caplog.text
    caplog.clear()
    assert float(fit(gcd())["explained"][0]) > 0.2 and "hardly better" not in caplog.text


def test_the_report_of_a_search_goes_with_every_image():
    reference = fit(gcd(n_renders=300))
    made, *_ = explained(gcd(n_renders=300), reference)
    own = int(reference["class"])
    assert made.extra["explained"].tolist() == pytest.approx([float(reference["explained"][own])] * 6)
    assert made.extra["left"].tolist() == pytest.approx([float(reference["left"])] * 6)
    assert made.extra["loss"].shape == (6, len(reference["loss"]))
    assert made.extra["cosine"].tolist() == pytest.approx([float((reference["g"][0] @ reference["g_class"]).abs())] * 6)
    score = made.extra["score"]
    assert made.extra["anywhere"].tolist() == (score > 0).any(1).float().tolist()


def test_g_can_be_projected_out_of_the_hessian():
    plain, rest = fit(gcd()), fit(gcd(without_g=True))
    torch.testing.assert_close(rest["h_class"][:2] @ rest["g_class"], torch.zeros(2), atol=1e-4, rtol=0)
    assert float((plain["h_class"][0] @ plain["g_class"]).abs()) > 0.5  # of a saturated network the first h-direction is nearly g


def test_the_source_by_its_probability():
    """The candidate nearest to the asked probability; its renders are kept apart from those of other sources."""
    kept = {}

    def keep(arguments, part, make, wait=True, **chosen):
        return kept.setdefault((arguments, part, *chosen.items()), make())

    p = view(linear(), "black_box", 64).probability(images_of(12).image).amax(1)
    for wanted in (0.5, 0.99):
        made = fit(gcd(source_probability=wanted, n_candidates=12, n_renders=300), keep=keep)
        assert int(made["position"]) == int((p - wanted).abs().argmin())
        assert float(made["source_probability"]) == pytest.approx(float(p[int(made["position"])]), rel=1e-5)
        assert ("source", int(made["position"])) in {key[2] for key in kept}


def test_directions_of_an_earlier_search(tmp_path):
    """Loaded from the file of a search they explain as they did, and nothing is rendered; another code is refused."""
    from safetensors.torch import save_file

    reference, path = fit(gcd()), str(tmp_path / "found.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in reference.items()}, path)
    explainer, before = gcd(directions=path), Tally.n
    loaded = fit(explainer)
    assert Tally.n == before and explainer.fit_costs(12) == (0, 0, 0)
    torch.testing.assert_close(explained(explainer, loaded)[0].counterfactual, explained(gcd(), reference)[0].counterfactual)
    save_file({**{name: tensor.contiguous() for name, tensor in reference.items()}, "g": torch.eye(2, 7)}, path)
    with pytest.raises(ValueError, match=r"explainer\.directions=.*5 entries and 2 classes.*got 7 entries"):
        fit(gcd(directions=path))


def saved(reference, path):
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in reference.items()}, path)
    return str(path)


def test_a_file_s_directions_are_walked_as_asked_for(tmp_path):
    """Unit, reach and order are those of a search with the same arguments, whatever the file's own search had; the plan counts what is walked."""
    asked = {"random_flips": 0.3, "n_rank": 4, "reach": 9.0, "order": "flips"}
    whole, bare = fit(gcd(**asked)), fit(gcd())
    for options, wanted, stored in ((asked, whole, bare), ({}, bare, whole), ({"reach": 2.0}, {**bare, "reach": torch.tensor(2.0)}, whole)):
        explainer = gcd(directions=saved({**stored, "unit": 7 * stored["unit"]}, tmp_path / "found.safetensors"), **options)
        loaded = fit(explainer)
        assert set(loaded) | {"reconstruction"} == set(wanted) | {"reconstruction"}
        for name in loaded:
            torch.testing.assert_close(loaded[name], wanted[name], msg=name)
    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    explainer = gcd(generator=real, directions=saved(bare, tmp_path / "found.safetensors"), **{**asked, "n_alphas": 2})
    box, before, parts = view(linear(), "black_box", 64), Tally.n, []
    explainer.fit(Faces(), box, lambda arguments, part, make, wait=True, **chosen: parts.append(make()) or parts[-1])
    assert explainer.fit_costs(12) == (Tally.n - before, box.queries, sum(part["image"].nbytes for part in parts))


def test_a_file_that_lacks_something(tmp_path):
    reference = fit(gcd(n_renders=300))
    path = saved({name: tensor for name, tensor in reference.items() if name not in ("moving", "e_loss")}, tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match=r"explainer\.directions=.*without e_loss, moving"):
        fit(gcd(directions=path))
    path = saved(reference, tmp_path / "found.safetensors")
    with pytest.raises(ValueError, match=r"explainer\.index must name directions 0\.\.2 of .*got \[3\]"):
        fit(gcd(directions=path, direction="h", n_h=4, index=[3]))
    with pytest.raises(ValueError, match=r"source_probability must be null where directions names a file"):
        gcd(directions=path, source_probability=0.6)


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


def test_a_search_continues_and_grows():
    """Chunks are kept by what determines them: a second search renders nothing, a larger one only what is new, another classifier nothing."""
    kept, made = {}, []

    def keep(arguments, part, make, wait=True, **chosen):
        key = (arguments, part)
        if key not in kept:
            made.append(part)
            kept[key] = make()
        return kept[key]

    first = fit(gcd(n_renders=300), keep=keep)
    assert len(made) == 3  # the source's code, and two chunks
    again = fit(gcd(n_renders=300), keep=keep)
    assert len(made) == 3 and torch.equal(first["g"], again["g"])
    fit(gcd(n_renders=700), keep=keep)
    assert len(made) == 4
    fit(gcd(n_renders=700), classifier=linear(6), keep=keep)
    assert len(made) == 4
    torch.testing.assert_close(fit(gcd(n_renders=700))["g"], fit(gcd(n_renders=700), keep=keep)["g"])


def test_a_search_is_shared():
    """What another process is at is passed over before the search, and waited for in it; nothing is rendered twice, the directions are the same."""
    kept, waited = {}, []

    def keep(arguments, part, make, wait=True, **chosen):
        busy = arguments == gcd().rendered and part in (0, 2) and (arguments, part) not in kept
        if busy and not wait:
            return None
        waited.extend([part] if busy else [])
        if (arguments, part) not in kept:
            kept[arguments, part] = make()
        return kept[arguments, part]

    explainer = gcd(n_renders=700)
    explainer.prepare(Faces(), keep)
    assert sorted(part for arguments, part in kept if arguments == explainer.rendered) == [1] and not waited
    shared = fit(explainer, keep=keep)
    assert waited == [0, 2]
    torch.testing.assert_close(shared["g"], fit(explainer)["g"])


def test_goals_other_than_the_source_s_class():
    reference = {**fit(gcd()), "class": torch.tensor(0)}
    three = TinyLinear.random(3, SHAPE, seed=5, scale=0.05, dtype=torch.float64)
    images = tiny_batch(3).image
    target = torch.tensor([0, 1, 2])
    goal = gcd().goals(images, target, view(three, "black_box", 8), reference=reference)
    assert goal[1:].tolist() == [0, 0] and goal[0] != 0
    with pytest.raises(ValueError, match=r"explainer\.goal must be 0"):
        gcd(goal=1).goals(images, target, view(three, "black_box", 8), reference=reference)


def test_log_odds_stay_finite():
    found = log_odds(torch.tensor([0.0, 0.25, 1.0]))
    assert found[0] < -16 and found[2] > 16 and math.isclose(float(found[1]), math.log(1 / 3), rel_tol=1e-6)
    assert bool(found.isfinite().all())


def test_plan_counts_what_is_done():
    explainer = gcd(fixed_point=2, n_invert=4, n_render=4, n_alphas=6, index=[0, 1])
    assert gcd(fixed_point=2, n_alphas=6, both_sides=True).evaluations(SHAPE) == 4 * 3 + 2 * 6 * 4
    assert explainer.evaluations(SHAPE) == 4 * 3 + 2 * 6 * 4 and explainer.queries(SHAPE) == 13
    reference = fit(explainer)
    *_, box, _ = explained(explainer, reference, n=2)
    assert box.queries == 2 * (1 + explainer.queries(SHAPE))  # one more for the target


def test_the_real_autoencoder_runs_through():
    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    explainer = gcd(generator=real, n_renders=40, chunk=16)
    reference = fit(explainer)
    assert reference["reconstruction"].shape == SHAPE and bool(reference["g"].isfinite().all())
    found, *_ = explained(explainer, reference, n=2)
    assert found.counterfactual.shape == (2, *SHAPE)


SEARCHES = [
    {},
    {"published_grid": True, "n_render": 3},
    {"order": "flips", "n_rank": 3, "fixed_point": 1},
    {"order": "flips"},
    {"random_flips": 0.1, "n_rank": 3},
    {"random_flips": 0.1, "order": "flips", "n_rank": 2, "source_probability": 0.6, "n_candidates": 5},
    {"n_sources": 2, "n_candidates": 8},
]



@pytest.mark.parametrize("options", SEARCHES)
def test_the_plan_counts_the_search(options):
    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    explainer = gcd(generator=real, **{"n_renders": 40, "chunk": 16, "n_alphas": 2, "source": 1, **options})
    box, before, stored = view(linear(), "black_box", 64), Tally.n, []

    def keep(arguments, part, make, wait=True, **chosen):
        found = make()
        stored.extend(value.nbytes for value in found.values() if value.dtype == torch.uint8)
        return found

    explainer.fit(Faces(), box, keep)
    assert explainer.fit_costs(len(Faces())) == (Tally.n - before, box.queries, sum(stored))


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"index": [2]}, "index must name directions 0..1"), ({"direction": "h", "index": [3]}, "directions 0..2"), ({"index": []}, "index"),
     ({"n_render": 5}, "n_render must be n_invert=4"), ({"g_weights": [[1.0]]}, "pairs"),
     ({"proxy": Proxy(standardize=False)}, "proxy.standardize")],
)  # fmt: skip
def test_refused(changes, named):
    with pytest.raises(ValueError, match=named.split("=")[0]):
        gcd(**changes)


def test_a_source_beyond_the_data():
    with pytest.raises(ValueError, match=r"explainer\.source must be below 12"):
        fit(gcd(source=12))


def test_yaml_is_complete():
    assert node_problems({"_target_": "pomelo_lab.explainer.gcd.GCDExplainer", "rule": "nearest"}, "explainer")
