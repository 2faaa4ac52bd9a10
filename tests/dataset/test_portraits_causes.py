"""The causal model: rates, dependencies, noise, interventions, exact correlations."""

import itertools

import pytest
import torch

from pomelo_lab.dataset.causal_model import NOISE, CausalModel, uniforms
from pomelo_lab.dataset.portraits_causes import ATTRIBUTES, CAUSES, CLASS_ATTRIBUTES, HAIR_COLORS, mark_cause


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads that wait for each other cost more than they give on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return CausalModel((*CAUSES, mark_cause("Smiling", 0.9)), ATTRIBUTES)


@pytest.fixture(scope="module")
def drawn(model):
    return model.draw(uniforms(3, "train", torch.arange(20000), model.causes))


def test_sizes_of_the_model(model):
    assert len(model.causes) >= 40 and len(ATTRIBUTES) >= 16
    assert len({name for name in model.causes}) == len(CAUSES) + 1
    order = list(model.causes)
    for cause in model.causes.values():
        assert all(order.index(parent) < order.index(cause.name) for parent in cause.parents)


def test_noise_is_uniform_independent_and_keyed(model):
    u = uniforms(0, "val", torch.arange(20000), model.causes)
    assert u.dtype == torch.float32 and float(u.min()) >= 0 and float(u.max()) < 1
    n = len(u)
    assert ((u.mean(0) - 0.5).abs() < 5 * (1 / 12 / n) ** 0.5).all()
    off = torch.corrcoef(u.T) - torch.eye(u.shape[1])
    assert float(off.abs().max()) < 5 / n**0.5
    lag = (u[1:] - 0.5).mul(u[:-1] - 0.5).mean(0) * 12
    assert float(lag.abs().max()) < 5 / n**0.5
    assert torch.equal(uniforms(0, "val", torch.tensor([17]), ["smile"]), u[17:18, [model.position["smile"]]])
    for other in (
        uniforms(1, "val", torch.arange(100), model.causes),
        uniforms(0, "test", torch.arange(100), model.causes),
    ):
        assert not (other == u[:100]).any(1).any()


def test_class_rates(model, drawn):
    exact = torch.tensor([model.probability({"hair_color": (c,)}) for c in HAIR_COLORS], dtype=torch.float64)
    assert float(exact.sum()) == pytest.approx(1, abs=1e-12)
    assert float(exact.min()) > 0.10 and float(exact.max()) - float(exact.min()) > 0.05
    seen = drawn["hair_color"].bincount(minlength=5).double() / 20000
    assert ((seen - exact).abs() < 4.5 * (exact * (1 - exact) / 20000).sqrt()).all()


def test_dependencies_follow_celeba(model):
    def p(event, given):
        return model.probability(ATTRIBUTES[event], given) / model.probability(given)

    young, old = {"age": ("young",)}, {"age": ("old",)}
    man, woman = {"male": ("male",)}, {"male": ("female",)}
    assert p("Gray_Hair", old) > 10 * p("Gray_Hair", young)
    assert p("Wearing_Earrings", ATTRIBUTES["Wearing_Lipstick"]) > 2 * p("Wearing_Earrings", {"lipstick": ("none",)})
    assert p("Beard", man) > 50 * p("Beard", woman)
    assert p("Bald", {**man, **old}) > 2 * p("Bald", {**man, **young}) > 4 * p("Bald", {**woman, **young})
    assert p("Eyeglasses", old) > p("Eyeglasses", young)


def test_exact_attribute_correlation_agrees_with_samples(model, drawn):
    exact = model.attribute_correlation()
    assert torch.allclose(exact.diagonal(), torch.ones(len(ATTRIBUTES), dtype=torch.float64))
    attributes = model.attributes(drawn).double()
    seen = torch.corrcoef(attributes.T)
    p = attributes.mean(0)
    z = (attributes - p) / (p * (1 - p)).sqrt()
    # standard error of a correlation from fourth moments (rare attributes are heavy-tailed)
    for i, j in itertools.combinations(range(len(ATTRIBUTES)), 2):
        error = (z[:, i] * z[:, j] - seen[i, j] * (z[:, i] ** 2 + z[:, j] ** 2) / 2).std() / 20000**0.5
        assert abs(seen[i, j] - exact[i, j]) < 5 * max(float(error), 1e-3), (i, j)


def test_attributes_agree_with_factors(model, drawn):
    column = dict(zip(ATTRIBUTES, model.attributes(drawn).unbind(1), strict=True))
    assert torch.equal(column["Young"], drawn["age"] < 0.45)
    assert torch.equal(column["Smiling"], drawn["smile"] >= 0.5)
    assert torch.equal(column["Bald"], drawn["hair_color"] == 4)
    assert torch.equal(column["Long_Hair"], (drawn["hair_length"] == 2) & (drawn["hair_color"] != 4))
    assert torch.equal(column["Eyeglasses"], drawn["glasses"] > 0)
    hair = torch.stack([column[name] for name in CLASS_ATTRIBUTES.values()], 1)
    assert torch.equal(hair.int().argmax(1), drawn["hair_color"]) and (hair.sum(1) == 1).all()


def test_intervene_changes_what_it_says(model, drawn):
    some = {k: v[:500] for k, v in drawn.items()}
    fixed = model.intervene(some, {"age": 0.9, "glasses": "round"})
    assert (fixed["glasses"] == 1).all() and (fixed["age"] == 0.9).all()
    assert all(torch.equal(fixed[k], some[k]) for k in some if k not in ("age", "glasses"))
    moved = model.intervene(some, {"age": 0.9}, propagate=True)
    effects = {"age", "hair_color", "facial_hair_color", "glasses", "hat", "beard", "shirt", "fullness"}
    assert {k for k in some if not torch.equal(moved[k], some[k])} == effects
    assert (moved["hair_color"] == 2).float().mean() > 2 * (some["hair_color"] == 2).float().mean()
    # consistency: an intervention that changes nothing
    same = model.intervene(some, {"age": some["age"]}, propagate=True)
    assert all(torch.equal(same[k], some[k]) for k in some)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"smiel": 1.0}, "did you mean 'smile'"),
        ({"hair_color": "blnd"}, "did you mean 'blond'"),
        ({"age": 1.5}, r"\[0.0, 1.0\]"),
        ({"hat": 7}, r"\[0, 3\]"),
        ({"age": "old"}, "a number"),
    ],
)
def test_intervene_refuses(model, drawn, changes, text):
    with pytest.raises(ValueError, match=text):
        model.intervene(drawn, changes)


def test_resample_keeps_the_rest_and_follows_the_conditional(model, drawn):
    people = {k: v[:40] for k, v in drawn.items()}
    people = model.intervene(people, {"male": "male", "age": 0.9})
    u = torch.rand(40, 500, 2, generator=torch.Generator().manual_seed(0))
    out = model.resample(people, ["mouth_open", "hair_color"], u)
    assert all(len(v) == 20000 for v in out.values())
    for name, value in people.items():
        if name not in ("mouth_open", "hair_color", NOISE):
            assert torch.equal(out[name], value.repeat_interleave(500, 0)), name
    rates = torch.tensor([0.060, 0.070, 0.410, 0.090, 0.370])
    seen = out["hair_color"].bincount(minlength=5) / 20000
    assert ((seen - rates).abs() < 4.5 * (rates * (1 - rates) / 20000).sqrt()).all()
    smiling = out["smile"] >= 0.5
    for chosen, p in ((smiling, 0.66), (~smiling, 0.20)):
        assert float((out["mouth_open"][chosen] >= 0.4).float().mean()) == pytest.approx(
            p, abs=4.5 * (0.25 / int(chosen.sum())) ** 0.5
        )
    again = model.draw(out[NOISE])  # the noise was updated: redrawing from it reproduces what has no changed parents
    assert torch.equal(again["smile"], out["smile"]) and torch.equal(again["mouth_open"], out["mouth_open"])
    with pytest.raises(ValueError, match="u must be"):
        model.resample(people, ["smile"], u)


def test_resample_redraws_parents_before_children(model, drawn):
    people = {k: v[:10] for k, v in drawn.items()}
    u = torch.rand(10, 400, 2, generator=torch.Generator().manual_seed(1))
    out = model.resample(people, ["mouth_open", "smile"], u)
    swapped = model.resample(people, ["smile", "mouth_open"], u.flip(-1))
    assert all(torch.equal(out[k], swapped[k]) for k in out)
    smiling = out["smile"] >= 0.5
    assert (out["mouth_open"][smiling] >= 0.4).float().mean() > (
        out["mouth_open"][~smiling] >= 0.4
    ).float().mean() + 0.3


def test_mark_follows_its_attribute(model, drawn):
    smiling = drawn["smile"] >= 0.5
    for chosen, p in ((smiling, 0.9), (~smiling, 0.1)):
        assert float(drawn["mark"][chosen].float().mean()) == pytest.approx(
            p, abs=4.5 * (0.09 / int(chosen.sum())) ** 0.5
        )
    assert mark_cause("bald", 1.0).rates[("bald",)] == (0.0, 1.0)
    assert mark_cause("Long_Hair", 0.8).rates[("long", "bald")] == (0.8, pytest.approx(0.2))
