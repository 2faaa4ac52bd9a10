"""Boxes on the sheet: those that the metric counts."""

from types import SimpleNamespace

import torch

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.results.figure.explanation_sheet import draw, find_boxes
from tests.running import config

GIVEN = (
    "dataset=portraits",
    "dataset.size_px=32",
    "classifier=plain",
    "classifier.width=4",
    "classifier.weights=null",
    "target=label",
    "sampler=none",
    "metrics=localization",
    "n_images=3",
)


def cell(tmp_path, explainer):
    job = Job(config(tmp_path, *GIVEN, f"explainer={explainer}"), Store(tmp_path))
    return SimpleNamespace(job=job, choices={"explainer": explainer, "sampler": "none"}, config=job.config, folders=())


def test_the_box_of_the_exact_mask_is_the_annotated_one(tmp_path):
    exact = cell(tmp_path, "ideal_mask")
    boxes, counts = find_boxes(exact, "localization", 3)
    truth = exact.job.batch(0).box("label")[:, 0]
    known = truth.isfinite().all(1)
    assert known.any() and torch.equal(boxes[known], truth[known])
    assert [yes for yes, there in zip(counts, known.tolist(), strict=True) if there] == [True] * int(known.sum())
    assert find_boxes(exact, "saliency", 3) is None and find_boxes(exact, None, 3) is None


def test_boxes_count_as_the_metric_says(tmp_path):
    whole = cell(tmp_path, "whole_image")
    boxes, counts = find_boxes(whole, "localization", 3)
    assert torch.equal(boxes, torch.tensor([[0.0, 0.0, 32.0, 32.0]]).expand(3, 4))
    overlaps = whole.job.score("localization", 0).tensors["iou"][:, 0]
    known = overlaps.isfinite()
    assert [c for c, k in zip(counts, known.tolist(), strict=True) if k] == (overlaps[known] >= 0.5).tolist()
    assert draw([whole], tmp_path / "sheet.png", n_images=2, boxes="localization").stat().st_size > 5_000
