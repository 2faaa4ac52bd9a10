import math
from types import SimpleNamespace

import pytest
import torch

from pomelo_lab.results.evidence import cell_sample, cost, read_rows, sample
from pomelo_lab.results.report import Column
from tests.results.fake import FakeCell, FakeJob


def test_images_without_a_score_are_not_nan():
    """A metric with its own image limit scores fewer images; undefined scores are counted."""
    cell_values = cell_sample(FakeCell({}, {"a": [1.0, math.nan], "b": [1.0] * 5}), "a")
    assert list(cell_values.value) == ["i0", "i1"] and cell_values.n_nan == 1


def test_set_statistics_are_points_and_magnitudes_lose_their_sign():
    cell = FakeCell({}, {"silhouette": -0.25})
    assert sample([cell], "silhouette").point == -0.25
    assert sample([cell], "silhouette", Column("silhouette", "Sil.", magnitude=True)).point == 0.25
    assert sample([], "silhouette") is None and sample([cell], "other") is None


def test_one_class_of_a_distribution(monkeypatch):
    job = FakeJob(["label_distribution"])
    cell = FakeCell({}, {"label_distribution": 1.0, "l2": [0.0] * 12}, job=job)
    rows = {"label_distribution": job.score("label_distribution", 0).tensors}
    monkeypatch.setattr("pomelo_lab.results.evidence.stored_rows", lambda cell, name: rows[name])
    cell_values = cell_sample(cell, "label_distribution[black]")
    assert list(cell_values.value.values()) == rows["label_distribution"]["distribution"][:, 1].tolist()
    assert cell_sample(cell, "label_distribution[purple]") is None


def test_cost_is_per_1000_perturbed_images():
    status = {"stages": {"perturbation": {"seconds": 4.0, "images": 10}}}
    assert cost(FakeCell({}, config={"explainer": {"n_samples": 200}}, status=status), "seconds_per_1000") == 2.0
    assert cost(FakeCell({}, config={"explainer": {}}, status=status), "seconds_per_1000") is None


def test_stored_tensors_by_name_and_place(monkeypatch):
    """`metric[name]` reads [B], `metric[name:place]` one place of [B,L]; images that do not count are left out."""
    rows = {
        "value": torch.arange(4.0),
        "null": torch.tensor([1.0, math.nan, 3.0, 4.0]),
        "by_layer": torch.arange(8.0).view(4, 2),
    }
    monkeypatch.setattr("pomelo_lab.results.evidence.stored_rows", lambda cell, name: rows)
    cell = FakeCell({}, {"m": [0.0] * 4}, job=FakeJob(["m"]))
    null = cell_sample(cell, "m[null]")
    assert (null.value["i0"], null.n_nan) == (1.0, 1) and list(cell_sample(cell, "m[by_layer:-1]").value.values()) == [
        1,
        3,
        5,
        7,
    ]
    assert (
        cell_sample(cell, "m[by_layer]") is None
        and cell_sample(cell, "m[null:0]") is None
        and cell_sample(cell, "m[absent]") is None
    )
    rows["counted"] = torch.tensor([1.0, 0, 0, 1])
    assert list(cell_sample(cell, "m[null]").value) == ["i0", "i3"]


def test_matched_cells_resample_only_their_common_images():
    """What a correlation difference counts in a resample are the images that all methods reached, as in the table."""
    from pomelo_lab.engine.store import Shard
    from pomelo_lab.results.evidence import stored_rows
    from pomelo_lab.results.matched import MatchedCell

    metric = SimpleNamespace(n_images=None, matched=True)
    shard = Shard({"change": torch.zeros(4, 3), "counted": torch.tensor([1.0, 1, 0, 1])})
    job = SimpleNamespace(
        parts=SimpleNamespace(metrics={"cd": metric, "other": SimpleNamespace(n_images=None)}),
        selection=SimpleNamespace(n_groups=1),
        score=lambda name, group: shard,
        forget=lambda: None,
    )
    cell = MatchedCell({}, {}, {}, common=frozenset({"i0"}))
    vars(cell).update(job=job, counted=torch.tensor([True, False, False, False]))
    assert stored_rows(cell, "cd")["counted"].tolist() == [1, 0, 0, 0]
    assert stored_rows(cell, "other")["counted"].tolist() == [1, 1, 0, 1], "a metric that is not narrowed down stays"


def test_costs_of_explaining_per_image():
    cell = FakeCell({}, status={"stages": {"explanation": {"seconds": 8.0, "images": 4, "queries": 400}}})
    assert cell_sample(cell, "seconds_per_image").point == 2 and cell_sample(cell, "queries_per_image").point == 100
    assert cell_sample(FakeCell({}), "seconds_per_image") is None


def test_repeats_of_a_set_statistic_and_of_a_grid():
    within, one = FakeCell({}, {"silhouette": (0.1, 0.2, 0.3)}), FakeCell({}, {"silhouette": 0.4})
    assert sample([within], "silhouette").repeats == (0.1, 0.2, 0.3) and sample([one], "silhouette").repeats == ()
    both = sample([one, FakeCell({}, {"silhouette": -0.2})], "silhouette", Column("silhouette", "Sil.", magnitude=True))
    assert both.repeats == (0.4, 0.2) and both.point == pytest.approx(0.1)


def test_a_job_that_is_looked_at_makes_nothing(tmp_path):
    """A missing shard is named, and no classifier is asked."""
    from pomelo_lab.engine.cache import StoredArtefacts
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.not_stored import NotStored
    from pomelo_lab.engine.store import Store
    from tests.running import config

    job = Job(config(tmp_path, "n_images=2"), Store(tmp_path), cache=StoredArtefacts)
    for read in (job.clean, job.explanation, lambda group: read_rows(job, next(iter(job.parts.metrics)))):
        with pytest.raises(NotStored, match="is not stored in"):
            read(0)
    assert not list(tmp_path.rglob("*.safetensors"))
