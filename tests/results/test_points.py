"""The points of a grid are composed once. Whatever they were composed from is read again."""

import pytest

from pomelo_lab.results import points
from pomelo_lab.results.points import compose_points


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def composed(monkeypatch):
    """Counts compositions of whole grids."""
    compose, calls = points.compose_now, []
    monkeypatch.setattr(points, "compose_now", lambda *arguments: calls.append(1) or compose(*arguments))
    return calls


def test_a_grid_is_composed_once_and_remembered_whole(composed):
    overrides = ["scale=smoke", "sampler=black,gray", "seed=0,1"]
    first = compose_points("pomelo_table2", [*overrides, "method=lime_black"])
    assert compose_points("pomelo_table2", [*overrides, "method=lime_black"]) == first and len(composed) == 1
    assert [point.point["seed"] for point in first.points] == ["0", "1"] * 2
    assert first.asked.preset and {"sampler", "seed", "scale"} <= first.asked.typed
    assert compose_points("pomelo_table2", [*overrides, "method=lime_gray"]) != first and len(composed) == 2


def test_a_users_file_is_read_again_when_it_changed(tmp_path, composed):
    (tmp_path / "mine" / "sampler").mkdir(parents=True)
    file = tmp_path / "mine" / "sampler" / "red.yaml"
    overrides = [f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "sampler=red"]
    for value in (1, 2):
        file.write_text(f"_target_: pomelo_lab.sampler.black.BlackSampler\nvalue: {value}\n")
        for _ in range(2):
            (point,) = compose_points("", overrides).points
            assert point.config["sampler"]["value"] == value
    assert len(composed) == 2


def test_an_environment_variable_is_read_again(monkeypatch, composed):
    for value in (1, 2):
        monkeypatch.setenv("SEED_OF_A_TEST", str(value))
        for _ in range(2):
            (point,) = compose_points("", ["seed=${oc.env:SEED_OF_A_TEST}"]).points
            assert point.config["seed"] == value
    assert len(composed) == 2


def test_the_time_is_read_again(composed):
    for _ in range(2):
        compose_points("", ["paths.outputs=out/${now:%S-%f}"])
    assert len(composed) == 2
