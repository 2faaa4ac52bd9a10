"""Geometry primitives of portraits."""

import pytest
import torch

from pomelo_lab.dataset import portraits_shapes as shapes
from pomelo_lab.dataset.causal_model import CausalModel, uniforms
from pomelo_lab.dataset.portraits_causes import ATTRIBUTES, CAUSES, mark_cause
from pomelo_lab.dataset.portraits_scene import Scene, bump, edge, ramp, wave


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads that wait for each other cost more than they give on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scene():
    model = CausalModel((*CAUSES, mark_cause(None, 0.5)), ATTRIBUTES)
    factors = model.draw(uniforms(0, "val", torch.arange(6), model.causes))
    still = {"x": 0.0, "y": 0.0, "tilt": 0.0, "face_width": 0.5}
    return Scene(model.intervene(factors, still), 128)


def test_edge_is_the_area_of_a_cut_pixel():
    d = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
    assert edge(d, torch.tensor(1.0)).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_ramp_bump_wave():
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    assert torch.allclose(ramp(x, -1, 1), 1 - ramp(-x, -1, 1))
    assert float(ramp(torch.tensor(2.0), 3, 1)) == pytest.approx(0.5)  # descending
    assert float(bump(torch.tensor(0.0), 0.3)) == 1 and not bump(x, 0.3)[x.abs() > 0.3].any()
    w = wave(x)
    assert torch.allclose(w, wave(x + 1), atol=1e-9) and float(w.abs().max()) <= 1
    assert float(w.mean()) == pytest.approx(0, abs=1e-2)


def test_head_area_is_that_of_its_outline(scene):
    cover, square = shapes.head(scene)
    px = 2 / 128 / scene["scale"]
    area = cover.sum((1, 2)) * px[:, 0, 0] ** 2
    rows = torch.linspace(-1, 1, 20001)[None]
    taper = 1 - (0.34 - 0.14 * scene["jaw"][:, :, 0] - 0.10 * scene["fullness"][:, :, 0]) * ramp(rows, -0.05, 1.10)
    exact = (2 * scene.width[:, :, 0] * taper * (1 - rows * rows).sqrt()).mean(1) * 2
    assert torch.allclose(area, exact, rtol=0.01)


def test_upright_parts_are_symmetric(scene):
    for cover in (
        shapes.ears(scene),
        shapes.head(scene)[0],
        shapes.brows(scene),
        shapes.eyes(scene)["white"],
        shapes.nose(scene)[0],
    ):
        assert torch.allclose(cover, cover.flip(-1), atol=1e-4)
        assert cover.flatten(1).amax(1).min() > 0.5


def test_pupil_in_iris_in_white_and_gaze_moves_them(scene):
    e = shapes.eyes(scene)
    assert (e["pupil"] <= e["iris"] + 1e-6).all() and (e["iris"] <= e["white"] + 1e-6).all()
    centre = (e["iris"] * scene.u).sum((1, 2)) / e["iris"].sum((1, 2))
    assert torch.corrcoef(torch.stack([centre, scene["gaze"][:, 0, 0]]))[0, 1] > 0.99


def test_rows_are_the_same_people(scene):
    rows = torch.tensor([4, 1])
    for draw in (shapes.glasses, shapes.hat, shapes.head):
        for some, every in zip(draw(scene.rows(rows)), draw(scene), strict=True):
            assert torch.equal(some, every[rows])


def test_hats_leave_the_temples_free(scene):
    for state in (1.0, 2.0, 3.0):
        scene.factors["hat"] = torch.full((6, 1, 1), state)
        cover, second = shapes.hat(scene)
        assert (second <= cover).all()
        assert not cover[(scene.v > shapes.HAT_BRIM + 0.15).expand_as(cover)].any()


def test_no_transcendental_functions():
    """The bit-for-bit promise rests on IEEE arithmetic only."""
    from pathlib import Path

    from pomelo_lab.dataset import portraits_causes, portraits_render

    for module in (shapes, portraits_render, portraits_causes):
        text = Path(module.__file__).read_text()
        for call in (
            ".sin(",
            ".cos(",
            ".exp(",
            ".log(",
            ".tanh(",
            ".atan2(",
            ".pow(",
            "lerp",
            "addcmul",
            "matmul",
            "einsum",
            " @ ",
        ):
            assert call not in text, (module.__name__, call)
