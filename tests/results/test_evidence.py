import math

from pomelo_lab.results.evidence import cell_sample, sample, seconds_per_1000
from pomelo_lab.results.published import Column
from tests.results.fake import FakeCell, FakeJob


def test_images_without_a_score_are_not_nan():
    """A metric with its own image limit scores fewer images; undefined scores are counted."""
    found = cell_sample(FakeCell({}, {"a": [1.0, math.nan], "b": [1.0] * 5}), "a")
    assert list(found.value) == ["i0", "i1"] and found.n_nan == 1


def test_set_statistics_are_points_and_magnitudes_lose_their_sign():
    cell = FakeCell({}, {"silhouette": -0.25})
    assert sample([cell], "silhouette").point == -0.25
    assert sample([cell], "silhouette", Column("silhouette", "Sil.", magnitude=True)).point == 0.25
    assert sample([], "silhouette") is None and sample([cell], "other") is None


def test_one_class_of_a_distribution(monkeypatch):
    job = FakeJob(["label_distribution"])
    cell = FakeCell({}, {"label_distribution": 1.0, "l2": [0.0] * 12}, job=job)
    rows = {"label_distribution": job.score("label_distribution", 0).tensors}
    monkeypatch.setattr("pomelo_lab.results.score.Scores", lambda job: type("S", (), {"rows": lambda self: rows})())
    found = cell_sample(cell, "label_distribution[black]")
    assert list(found.value.values()) == rows["label_distribution"]["distribution"][:, 1].tolist()
    assert cell_sample(cell, "label_distribution[purple]") is None


def test_cost_is_per_1000_perturbed_images():
    status = {"stages": {"perturbation": {"seconds": 4.0, "images": 10}}}
    assert seconds_per_1000(FakeCell({}, config={"explainer": {"n_samples": 200}}, status=status)) == 2.0
    assert seconds_per_1000(FakeCell({}, config={"explainer": {}}, status=status)) is None
