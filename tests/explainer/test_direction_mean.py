"""Directions of several sources: the mean of what each search finds, of sources of one class."""

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.direction_mean import average
from pomelo_lab.explainer.proxy import Proxy
from tests.explainer.linear import CODE, Faces, fit, gcd, images_of, known_direction, linear


def part(g, values, vectors, moving=0.0, explained=0.5):
    told = {"g": torch.stack([g, g]), "g_class": g, "explained": torch.full((3,), explained), "left": torch.tensor(0.2)}
    told |= {"source_probability": torch.tensor(0.9), "moving": torch.tensor(moving), "position": torch.tensor(7)}
    return (
        told
        | {f"e_{name}": values for name in ("class", "loss")}
        | {f"h_{name}": vectors for name in ("class", "loss")}
    )


def test_the_mean_of_two_searches():
    """g: the unit mean; h: the eigenvectors of the mean Hessian, which here is diagonal."""
    x, y, z = torch.eye(3)
    one = part(x, torch.tensor([4.0, -2.0]), torch.stack([x, y]), 0.01, 0.4)
    made = average([one, part(y, torch.tensor([-6.0, 2.0]), torch.stack([y, z]), 0.03)], 2)
    torch.testing.assert_close(made["g_class"], F.normalize(x + y, dim=0))
    torch.testing.assert_close(made["g"], F.normalize(x + y, dim=0).expand(2, -1))
    # ((0, -2, 0) + (0, -6, 0)) / 2, ((4, 0, 0) + 0) / 2
    torch.testing.assert_close(made["e_class"], torch.tensor([-4.0, 2.0]))
    torch.testing.assert_close(made["h_class"].abs(), torch.stack([y, x]))
    assert (
        float(made["moving"]) == pytest.approx(0.03)
        and float(made["explained"][0]) == pytest.approx(0.45)
        and int(made["position"]) == 7
    )


def test_sources_are_of_one_class_and_find_the_known_direction():
    box = view(linear(), "black_box", 64)
    kinds = box.probability(images_of(12).image).argmax(1).tolist()
    same = [i for i, kind in enumerate(kinds) if kind == kinds[0]][:2]
    quick = {"n_renders": 256, "proxy": Proxy(widths=[16], lr=1e-2, n_epochs=100)}
    explainer = gcd(n_sources=len(same), n_candidates=12, **quick)
    assert explainer.positions(Faces(), box) == same
    mean, known = fit(explainer)["g"][0], known_direction(linear(), kinds[0])
    assert mean.shape == (CODE,) and float(mean @ known) > 0.9
    with pytest.raises(
        ValueError,
        match=r"n_sources=12 needs as many candidates of one class, got \d+: raise "
        r"explainer.n_candidates=12",
    ):
        fit(gcd(n_sources=12, n_candidates=12, n_renders=40, chunk=40))
    for options, named in [
        ({"n_sources": 9, "n_candidates": 8}, "n_sources must be <= n_candidates=8"),
        ({"n_sources": 2, "directions": "x.safetensors"}, "n_sources must be 1 where directions names a file"),
    ]:
        with pytest.raises(ValueError, match=named):
            gcd(**options)
