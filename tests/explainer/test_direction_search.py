"""The search for global directions on linear generators: what it finds, stores, shares, continues and refuses."""

import pytest
import torch
from torch import nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.proxy import Proxy
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from tests.explainer.linear import CODE, Faces, explained, fit, gcd, images_of, known_direction, linear
from tests.generator.test_diffusion_autoencoder import TINY


@pytest.mark.parametrize("sampling", ["uniform_radius", "uniform_ball"])
def test_linear_generator_and_classifier(sampling):
    """g is parallel to W'w, all images flip, on the shorter side, and the score falls along the line."""
    explainer = gcd(sampling=sampling, loss_weights=[1.0, 0.0])
    reference = fit(explainer)
    own = int(reference["class"])
    assert float(nn.functional.cosine_similarity(reference["g"][0], known_direction(linear(), own), dim=0)) > 0.99
    assert float(reference["explained"][0]) > 0.95
    explanation, target, _, batch = explained(explainer, reference)
    assert explanation.extra["flipped"].tolist() == [1.0] * 6
    moved = explanation.counterfactual - batch.image
    along = (moved.flatten(1) @ (linear().weight[own] - linear().weight[1 - own]).float().flatten()).sign()
    assert along.tolist() == torch.where(target == own, -1.0, 1.0).tolist()
    score = explanation.extra["score"]
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
    assert not torch.equal(shift, explainer.displacements(1, 8)) and not torch.equal(
        shift, gcd(chunk=4000, radius=2.0, seed=1).displacements(0, 8)
    )


def test_the_reach_ends_where_random_directions_flip():
    """By hand: of the walks from the images after the source, both ways, the share that changed class by each step."""
    explainer = gcd(random_flips=0.3, n_rank=4, reach=9.0)
    box, batch = view(linear(), "black_box", 64), images_of(12).select([1, 2, 3, 4])
    code, noise = explainer.encode(batch.image)
    was, flips = box.probability(batch.image).argmax(1), torch.zeros(4, 2, 12)
    for row in range(4):
        lines = nn.functional.normalize(RandomStreams(0).normal([f"reach.{row}"], "gcd.random", 2, CODE)[0], dim=1)
        for k, line in enumerate(lines):
            for step in range(12):
                shift = torch.stack([-line, line]) * 9.0 * (step + 1) / 12
                answer = box.probability(explainer.render(code[row : row + 1], noise[row : row + 1], shift)).argmax(1)
                flips[row, k, step] = bool((answer != was[row]).any())
    rates = flips.cummax(2).values.mean((0, 1))
    wanted = max(int((rates <= 0.3).sum()), 1) * 9.0 / 12
    assert float(fit(explainer)["reach"]) == pytest.approx(wanted) and rates[-1] > 0.3
    made, *_ = explained(explainer, fit(explainer))
    assert float(made.extra["alpha"].max()) <= wanted + 1e-5 and made.extra["reach"].tolist() == pytest.approx(
        [wanted] * 6
    )
    assert float(fit(gcd(reach=9.0))["reach"]) == 9.0


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
    # of a saturated network the first h-direction is nearly g
    assert float((plain["h_class"][0] @ plain["g_class"]).abs()) > 0.5


def test_the_source_by_its_probability():
    """The candidate nearest to the asked probability; its renders are kept apart from those of other sources."""
    kept = {}

    def keep(arguments, part, make, wait=True, **chosen):
        return kept.setdefault((arguments, part, *chosen.items()), make())

    p = view(linear(), "black_box", 64).probability(images_of(12).image).amax(1)
    for wanted in (0.5, 0.99):
        made = fit(gcd(source_probability=wanted, n_candidates=12, n_renders=300), cached_part=keep)
        assert int(made["position"]) == int((p - wanted).abs().argmin())
        assert float(made["source_probability"]) == pytest.approx(float(p[int(made["position"])]), rel=1e-5)
        assert ("source", int(made["position"])) in {key[2] for key in kept}


def test_directions_of_an_earlier_search(tmp_path):
    """Loaded from the file of a search they explain as they did, and nothing is rendered; another code is refused."""
    from safetensors.torch import save_file

    reference, path = fit(gcd()), str(tmp_path / "found.safetensors")
    save_file({name: tensor.contiguous() for name, tensor in reference.items()}, path)
    explainer, before = gcd(directions=path), EvaluationCounter.n
    loaded = fit(explainer)
    assert EvaluationCounter.n == before and explainer.fit_cost(12) == Cost()
    torch.testing.assert_close(
        explained(explainer, loaded)[0].counterfactual, explained(gcd(), reference)[0].counterfactual
    )
    save_file({**{name: tensor.contiguous() for name, tensor in reference.items()}, "g": torch.eye(2, 7)}, path)
    with pytest.raises(ValueError, match=r"explainer\.directions=.*5 entries and 2 classes.*got 7 entries"):
        fit(gcd(directions=path))


def saved(reference, path):
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in reference.items()}, path)
    return str(path)


def test_a_file_s_directions_are_walked_as_asked_for(tmp_path):
    """Unit, reach and order are those of a search with the same arguments, whatever the file's own search had; the plan
    counts what is walked."""
    asked = {"random_flips": 0.3, "n_rank": 4, "reach": 9.0, "order": "flips"}
    whole, bare = fit(gcd(**asked)), fit(gcd())
    for options, wanted, stored in (
        (asked, whole, bare),
        ({}, bare, whole),
        ({"reach": 2.0}, {**bare, "reach": torch.tensor(2.0)}, whole),
    ):
        explainer = gcd(
            directions=saved({**stored, "unit": 7 * stored["unit"]}, tmp_path / "found.safetensors"), **options
        )
        loaded = fit(explainer)
        assert set(loaded) | {"reconstruction"} == set(wanted) | {"reconstruction"}
        for name in loaded:
            torch.testing.assert_close(loaded[name], wanted[name], msg=name)
    real = DiffusionAutoencoder(**{**TINY, "channels": 3, "code": CODE})
    explainer = gcd(generator=real, directions=saved(bare, tmp_path / "found.safetensors"), **{**asked, "n_alphas": 2})
    box, before, parts = view(linear(), "black_box", 64), EvaluationCounter.n, []
    explainer.fit(Faces(), box, lambda arguments, part, make, wait=True, **chosen: parts.append(make()) or parts[-1])
    stored = sum(part["image"].nbytes for part in parts)
    assert explainer.fit_cost(12) == Cost(box.queries, EvaluationCounter.n - before, stored)


def test_a_file_that_lacks_something(tmp_path):
    reference = fit(gcd(n_renders=300))
    path = saved(
        {name: tensor for name, tensor in reference.items() if name not in ("moving", "e_loss")},
        tmp_path / "old.safetensors",
    )
    with pytest.raises(ValueError, match=r"explainer\.directions=.*without e_loss, moving"):
        fit(gcd(directions=path))
    path = saved(reference, tmp_path / "found.safetensors")
    with pytest.raises(ValueError, match=r"explainer\.index must name directions 0\.\.2 of .*got \[3\]"):
        fit(gcd(directions=path, direction="h", n_h=4, index=[3]))
    with pytest.raises(ValueError, match=r"source_probability must be null where directions names a file"):
        gcd(directions=path, source_probability=0.6)


def test_a_search_continues_and_grows():
    """Chunks are kept by what determines them: a second search renders nothing, a larger one only what is new, another
    classifier nothing."""
    kept, made = {}, []

    def keep(arguments, part, make, wait=True, **chosen):
        key = (arguments, part)
        if key not in kept:
            made.append(part)
            kept[key] = make()
        return kept[key]

    first = fit(gcd(n_renders=300), cached_part=keep)
    assert len(made) == 3  # the source's code, and two chunks
    again = fit(gcd(n_renders=300), cached_part=keep)
    assert len(made) == 3 and torch.equal(first["g"], again["g"])
    fit(gcd(n_renders=700), cached_part=keep)
    assert len(made) == 4
    fit(gcd(n_renders=700), classifier=linear(6), cached_part=keep)
    assert len(made) == 4
    torch.testing.assert_close(fit(gcd(n_renders=700))["g"], fit(gcd(n_renders=700), cached_part=keep)["g"])


def test_a_search_is_shared():
    """What another process is at is passed over at first and waited for last, before the search takes its lock; nothing
    is rendered twice, the directions are the same."""
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
    assert [part for arguments, part in kept if arguments == explainer.rendered] == [1, 0, 2] and waited == [0, 2]
    shared = fit(explainer, cached_part=keep)
    assert waited == [0, 2]
    torch.testing.assert_close(shared["g"], fit(explainer)["g"])


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
    box, before, stored = view(linear(), "black_box", 64), EvaluationCounter.n, []

    def keep(arguments, part, make, wait=True, **chosen):
        built = make()
        stored.extend(value.nbytes for value in built.values() if value.dtype == torch.uint8)
        return built

    explainer.fit(Faces(), box, keep)
    assert explainer.fit_cost(len(Faces())) == Cost(box.queries, EvaluationCounter.n - before, sum(stored))


def test_a_source_beyond_the_data():
    with pytest.raises(ValueError, match=r"explainer\.source must be below 12"):
        fit(gcd(source=12))
