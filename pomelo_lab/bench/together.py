"""Many images side by side against one after another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.types import Batch


def beside(
    setting: Setting,
    explainers: Mapping[str, Explainer],
    batch: Batch,
    classifier: Classifier,
    at_most: float,
    fit: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Row]:
    """The time of all images together over that of one by one, and how far the maps differ, relative to the largest
    value.

    Args: fit: explainer name -> its statistics, as an argument of `explain`.
    """
    rows = []
    for name, explainer in explainers.items():
        more = (fit or {}).get(name, {})
        together = partial(maps, explainer, batch, classifier, **more)
        alone = partial(one_by_one, explainer, batch, classifier, **more)
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


def maps(explainer: Explainer, batch: Batch, classifier: Classifier, **fit: Any) -> Tensor:
    target = torch.zeros(len(batch), dtype=torch.long)
    return explainer.explain(
        batch, target, view(classifier, explainer.access, 256), RandomStreams(0), **fit
    ).attribution


def one_by_one(explainer: Explainer, batch: Batch, classifier: Classifier, **fit: Any) -> Tensor:
    return torch.cat([maps(explainer, batch.select([i]), classifier, **fit) for i in range(len(batch))])
