"""The proxy: exact derivatives of known functions, learning, stopping, units."""

import pytest
import torch
from torch import nn

from pomelo_lab.explainer.convergence import LIMIT, still_moving
from pomelo_lab.explainer.proxy import Proxy, curvature, gradient


def draws(n=600, d=6, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


class Quadratic(nn.Module):
    """a z + z' A z / 2."""

    def __init__(self, n=6):
        super().__init__()
        self.a, matrix = draws(1, n, 1)[0], draws(n, n, 2)
        self.matrix = matrix + matrix.T

    def forward(self, at):
        at = at.to(self.a)
        return (at @ self.a + 0.5 * ((at @ self.matrix) * at).sum(1))[0]


def test_directions_of_a_quadratic():
    loss = Quadratic()
    torch.testing.assert_close(gradient(loss, 6), loss.a / loss.a.norm(), atol=1e-5, rtol=0)
    values, vectors = curvature(loss, 6, 4)
    known = torch.linalg.eigvalsh(loss.matrix.double()).float()
    torch.testing.assert_close(values, known[known.abs().argsort(descending=True)][:4], atol=1e-4, rtol=1e-5)
    assert values.abs().tolist() == sorted(values.abs().tolist(), reverse=True)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors @ loss.matrix, values[:, None] * vectors, atol=1e-4, rtol=0)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("activation", ["sigmoid", "silu"])
def test_it_learns_scores_and_distance_in_their_own_units(activation, standardize):
    shift = draws(2000)
    score, distance = torch.stack([3 * shift[:, 0], -3 * shift[:, 0]], 1), 0.2 + 0.3 * torch.tanh(shift[:, 1]).square()
    model, explained, _ = Proxy(widths=[32, 32], activation=activation, lr=5e-3, standardize=standardize).fit(
        shift, score, distance
    )
    assert explained.shape == (3,) and float(explained[:2].min()) > 0.98
    # in its own units the distance is small beside the scores, and learned last
    assert float(explained[2]) > 0.8 or not standardize
    derivative = gradient(lambda at: model(at)[0, 0], 6)
    assert float(derivative[0]) > 0.97  # a sign error or a permuted input would be -0.97 or 0
    assert float((model(shift)[:, 0] - score[:, 0]).square().mean().sqrt()) < 0.6


def test_units_do_not_turn_a_direction():
    shift = draws(1000)
    score, distance = shift[:, :1] - 2 * shift[:, 1:2], shift[:, 2].abs()
    one, other = (Proxy(widths=[16]).fit(shift * k, score * s, distance)[0] for k, s in ((1.0, 1.0), (8.0, 32.0)))
    a, b = (gradient(lambda at, m=m: m(at)[0, 0], 6) for m in (one, other))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_it_stops_when_nothing_is_left_to_learn():
    shift = draws(200)
    noise = draws(200, 2, seed=9)
    seen = []

    class Counted(Proxy):
        def fit(self, *examples):
            step = torch.optim.AdamW.step
            torch.optim.AdamW.step = lambda self, *a: (seen.append(1), step(self, *a))[1]
            try:
                return super().fit(*examples)
            finally:
                torch.optim.AdamW.step = step

    Counted(widths=[16], lr=1e-2).fit(shift, noise[:, :1], noise[:, 1])
    assert 2 * 5 < len(seen) < 2 * 1024  # 175 examples: two steps an epoch


def test_the_same_seed_the_same_proxy_and_nothing_else_is_drawn():
    shift = draws(100)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (
        Proxy(widths=[4], n_epochs=3, seed=s).fit(shift, shift[:, :1], shift[:, 1])[0] for s in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first(shift), again(shift)) and not torch.equal(first(shift), other(shift))


def test_the_order_of_sums_does_not_turn_directions(monkeypatch):
    """It changes with the number of threads; in float32 directions differ by it from the fourth digit on after 200
    steps."""
    shift, directions = draws(300, 16), []

    def linear(layer, x):
        half = x.shape[1] // 2
        return x[:, half:] @ layer.weight[:, half:].T + x[:, :half] @ layer.weight[:, :half].T + layer.bias

    for forward in (nn.Linear.forward, linear):
        monkeypatch.setattr(nn.Linear, "forward", forward)
        model = Proxy(widths=[64, 32], least_steps=200, lr=1e-2).fit(shift, shift[:, :2].sin(), shift.square().mean(1))[
            0
        ]
        directions.append(
            torch.cat(
                [
                    gradient(lambda at, m=model: m(at)[0, 0], 16)[None],
                    curvature(lambda at, m=model: m(at)[0, 0], 16, 3)[1],
                ]
            )
        )
    assert torch.equal(*directions)


def test_too_few_examples():
    with pytest.raises(ValueError, match="val_share"):
        Proxy().fit(draws(8), draws(8, 2), draws(8, 1)[:, 0])


def test_it_does_not_stop_on_the_first_plateau():
    """Few examples and layers of sigmoids: the loss hardly moves at first, and ending there leaves a direction that is
    as good as random."""
    shift = draws(400, 12)
    score, distance = torch.stack([4 * shift[:, 0], -4 * shift[:, 0]], 1), shift.square().mean(1)
    early, late = (Proxy(widths=[32, 32, 32], least_steps=n).fit(shift, score, distance) for n in (0, 2000))
    assert float(early[1][0]) < 0.3 and float(late[1][0]) > 0.8
    assert len(early[2]) < 100 and len(late[2]) * 3 >= 2000  # 350 examples: three steps an epoch


def test_the_loss_is_told_as_it_ended():
    """The last one exceeds the mean of those before, which ended the training: a running minimum would always look at
    rest."""
    shift = draws(400, 12)
    score, distance = torch.stack([4 * shift[:, 0], -4 * shift[:, 0]], 1), shift.square().mean(1)
    _, explained, losses = Proxy(widths=[32, 32, 32]).fit(shift, score, distance)
    assert losses.ndim == 1 and losses[-1] > losses[-6:-1].mean() and bool((losses.diff() > 0).any())
    assert float(explained[0]) < 0.3 and float(still_moving(losses[None])) > LIMIT  # stopped on the first plateau


def test_distances_that_a_sigmoid_cannot_answer():
    shift = draws(200)
    for distance in (7 * shift[:, 0].abs(), shift[:, 0].abs().clamp_max(0.9) - 0.1):
        with pytest.raises(ValueError, match=r"proxy\.standardize=false .* must lie in \(0,1\)"):
            Proxy(widths=[4], standardize=False).fit(shift, shift[:, :1], distance)
    Proxy(widths=[4], n_epochs=1, standardize=False).fit(shift, shift[:, :1], shift[:, 0].sigmoid())


def test_a_direction_is_projected_out():
    loss, without = Quadratic(), nn.functional.normalize(draws(1, 6, 5)[0], dim=0)
    values, vectors = curvature(loss, 6, 5, without)
    torch.testing.assert_close(vectors @ without, torch.zeros(5), atol=1e-5, rtol=0)
    rest = torch.eye(6) - torch.outer(without, without)
    torch.testing.assert_close(vectors @ (rest @ loss.matrix @ rest), values[:, None] * vectors, atol=1e-4, rtol=0)
