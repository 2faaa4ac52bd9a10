"""Many images side by side against one after another."""

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
    """The time of all images together over that of one by one, and how far the maps differ, relative to the largest
    value.

    Args: reference: explainer name -> what its `fit` returned.
    """
    rows = []
    for name, explainer in explainers.items():
        case = first_class_case(explainer, batch, classifier, (reference or {}).get(name, {}))
        together, alone = partial(maps, explainer, case), partial(one_by_one, explainer, case)
        together(), alone()
        runs = Inside().paired({"together": together, "alone": alone}, setting.repeats)
        here, there = runs["together"], runs["alone"]
        difference = float((here[-1].result - there[-1].result).abs().max() / there[-1].result.abs().max())
        rows += [
            ratio(
                f"{name}, {len(batch)} images together / one by one",
                (here, total),
                (there, total),
                at_most=at_most,
                note=f"{typical(here, total)} and {typical(there, total)}",
            ),
            Row(f"same maps? {name}", (difference,), "difference", at_most=1e-5),
        ]
    return rows


def first_class_case(
    explainer: Explainer, batch: Batch, classifier: Classifier, reference: Mapping[str, Tensor] | None = None
) -> Case:
    """Images whose first class is explained.

    Args: reference: what the explainer's `fit` returned.
    """
    target = torch.zeros(len(batch), dtype=torch.long)
    answering = view(classifier, explainer.access, 256)
    return Case(batch, target, answering, RandomStreams(0), reference=reference or {})


def maps(explainer: Explainer, case: Case) -> Tensor:
    """The attributions of a case."""
    return explainer.explain(case).attribution


def one_by_one(explainer: Explainer, case: Case) -> Tensor:
    """The attributions of a case, an image at a time."""
    return torch.cat([maps(explainer, case.select([i])) for i in range(len(case))])
