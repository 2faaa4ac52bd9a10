"""The time of many images in one batch, relative to single images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Batch


def beside(
    setting: Setting,
    explainers: Mapping[str, Explainer],
    batch: Batch,
    classifier: Classifier,
    at_most: float,
    reference: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> list[Row]:
    """Compares one batch of images with single images, for each explainer.

    One row has the ratio of the times. Another row has the largest difference of the maps, relative to their largest
    value.

    Args: reference: the result of each explainer's `fit`, by name.
    """
    rows = []
    for name, explainer in explainers.items():
        case = first_class_case(explainer, batch, classifier, (reference or {}).get(name, {}))
        together, alone = partial(maps, explainer, case), partial(one_by_one, explainer, case)
        together(), alone()
        runs = Inside().paired({"together": together, "alone": alone}, setting.repeats)
        batch_runs, single_runs = runs["together"], runs["alone"]
        difference = float(
            (batch_runs[-1].result - single_runs[-1].result).abs().max() / single_runs[-1].result.abs().max()
        )
        rows += [
            ratio(
                f"{name}, {len(batch)} images together / one by one",
                (batch_runs, total),
                (single_runs, total),
                at_most=at_most,
                note=f"{typical(batch_runs, total)} and {typical(single_runs, total)}",
            ),
            Row(f"same maps? {name}", (difference,), "difference", at_most=1e-5),
        ]
    return rows


def first_class_case(
    explainer: Explainer, batch: Batch, classifier: Classifier, reference: Mapping[str, Tensor] | None = None
) -> Case:
    """The case in which an explainer explains the first class of each image.

    Args: reference: the result of the explainer's `fit`.
    """
    target = torch.zeros(len(batch), dtype=torch.long)
    answering = view(classifier, explainer.access, 256)
    return Case(batch, target, answering, RandomStreams(0), reference=reference or {})


def maps(explainer: Explainer, case: Case) -> Tensor:
    """The attributions of a case."""
    return explainer.explain(case).attribution


def one_by_one(explainer: Explainer, case: Case) -> Tensor:
    """The attributions of a case, computed for one image at a time."""
    return torch.cat([maps(explainer, case.select([i])) for i in range(len(case))])
