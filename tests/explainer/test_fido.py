import pytest
import torch

from pomelo_lab.explainer.fido import FidoExplainer
from tests.explainer.removing import ByMask, black, explained, same_alone_and_in_any_batch
from tests.tiny import TinyLinear, batch_of

ZERO = torch.zeros(1, dtype=torch.long)


def fido(filler=None, **options):
    settings = {"mask_px": 4, "n_steps": 15, "n_samples": 4, "n_warmup": 5, "reference_px": 8}
    return FidoExplainer(sampler=filler or black(), **{**settings, **options})


def uniform(like):
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise", ["pixel", "cell"])
@pytest.mark.parametrize("logit", [-1.5, 0.0, 2.0])
def test_samples_keep_with_one_minus_the_drop_probability(noise, logit):
    dropped = torch.full((400, 8, 8) if noise == "pixel" else (400, 4, 4), logit)
    keep = fido(noise=noise).sample_masks(uniform(dropped), dropped, (8, 8))
    n = 400 * (64 if noise == "pixel" else 16)
    share = torch.sigmoid(torch.tensor(-logit))
    if noise == "cell":
        # enlarged bilinearly, pixels lean to neighbouring cells: only the share at large is known
        keep = keep[..., ::2, ::2]
    assert float((keep > 0.5).float().mean()) == pytest.approx(
        float(share), abs=0.02 if noise == "cell" else 4 * (0.25 / n) ** 0.5
    )


def test_low_temperatures_give_bits():
    dropped = torch.zeros(4, 8, 8)
    for temperature, sharp in ((1.0, 0.1), (0.01, 0.95)):
        keep = fido(temperature=temperature).sample_masks(uniform(dropped), dropped, (8, 8))
        share = float(((keep < 0.01) | (keep > 0.99)).float().mean())
        assert share < 0.2 if sharp < 0.5 else share > sharp


def test_terms_of_the_loss():
    drop = torch.tensor([[[0.0, 1.0], [0.25, 0.5]]])
    odds = torch.tensor([2.0])
    keeps, drops = (fido(objective=name, reference_px=4).loss(odds, drop, 0.1) for name in ("ssr", "sdr"))
    assert keeps.tolist() == pytest.approx([-2 + 0.1 * 4 * (1 + 0 + 0.75 + 0.5)]) and drops.tolist() == pytest.approx(
        [2 + 0.1 * 4 * 1.75]
    )
    smooth = fido(reference_px=4, tv=2.0).loss(odds, drop, 0.0)
    assert smooth.tolist() == pytest.approx([-2 + 2.0 * (0.25**2 + 0.5**2 + 1.0**2 + 0.25**2)])


@pytest.mark.parametrize("objective", ["ssr", "sdr"])
def test_two_pixels_of_which_one_decides(objective):
    """p = sigmoid(8 x_left): the smallest sufficient set, and the smallest whose loss destroys it, is the left
    pixel."""
    weight = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    weight[..., 0] = 8.0
    batch, classifier = (
        batch_of(torch.ones(1, 1, 1, 2)),
        TinyLinear(weight=weight, bias=torch.tensor([-4.0]), output="sigmoid"),
    )
    explainer = fido(
        objective=objective, mask_px=2, n_steps=200, n_samples=8, lr=0.1, penalty=0.5, reference_px=1, noise="cell"
    )
    explanation, _ = explained(explainer, batch, ZERO, classifier)
    left, right = explanation.attribution[0, 0].tolist()
    assert left > 0.75 and right < 0.25  # in either objective larger = speaks for the class


def test_log_odds_are_exact_for_sure_classifiers():
    from pomelo_lab.classifier.base import view

    sure = TinyLinear(
        weight=torch.zeros(3, 1, 1, 1, dtype=torch.float64), bias=torch.tensor([90.0, 0.0, 1.0], dtype=torch.float64)
    )
    sure.network[1].double()
    odds = view(sure, "white_box", 8).log_odds(torch.zeros(2, 1, 1, 1), torch.tensor([0, 2]))
    other = torch.tensor([0.0, 1.0], dtype=torch.float64).logsumexp(0)
    assert odds.tolist() == pytest.approx([90 - float(other), 1 - 90.0], abs=1e-5)


@pytest.mark.parametrize("make", [fido, lambda: fido(ByMask()), lambda: fido(objective="sdr", noise="cell")])
def test_neighbours_and_batch_size_do_not_matter(make):
    whole = same_alone_and_in_any_batch(make)
    low, high = whole.attribution.aminmax()
    assert 0 <= low < high <= 1 and not torch.equal(whole.attribution, explained(make(), seed=1)[0].attribution)


def test_costs():
    _, box = explained(fido(ByMask()))
    assert (
        box.queries == 3 * (15 * 4 + 1) == 3 * fido().cost((3, 8, 8)).queries
        and fido(ByMask()).cost((3, 8, 8)).evaluations == 61
    )


@pytest.mark.parametrize("objective", ["ssr", "sdr"])
def test_it_tells_what_is_left_and_whether_it_still_moves(objective):
    """Keeping what suffices leaves the class, destroying it does not; a run of a few steps is still moving, an annealed
    one is not."""
    weight = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    weight[..., 0] = 8.0
    batch, classifier = (
        batch_of(torch.ones(1, 1, 1, 2)),
        TinyLinear(weight=weight, bias=torch.tensor([-4.0]), output="sigmoid"),
    )
    settings = {
        "objective": objective,
        "mask_px": 2,
        "n_samples": 64,
        "lr": 0.1,
        "penalty": 0.5,
        "reference_px": 1,
        "noise": "cell",
    }
    long, short = (explained(fido(n_steps=n, **settings), batch, ZERO, classifier)[0].extra for n in (300, 10))
    assert long["loss"].shape == (1, 300) and long["moving"] < 0.02 < short["moving"]
    assert long["probability"] > 0.9 if objective == "ssr" else long["probability"] < 0.1
