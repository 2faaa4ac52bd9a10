"""Scores of several methods on the images on which all methods reached the goal class. Without this a method that
succeeds on few images is scored on easy ones only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.results.grid import GridCell

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MatchedCell(GridCell):
    """A finished cell whose counterfactual metrics count only matched images. Its other metrics are unchanged.

    common: ids of the matched images.
    """

    common: frozenset[str] = frozenset()

    @cached_property
    def counted(self) -> Tensor:
        """Marks the images that count: bool [B]."""
        import torch

        return torch.tensor([name in self.common for name in super().scores()["image_id"]])

    @cached_property
    def summary(self) -> dict[str, Any]:
        from pomelo_lab.engine.scores import Scores, summary_row

        summaries, rows = dict(super().summary), Scores(self.job).rows()
        for name in self.matched_metrics(summaries):
            metric = self.job.parts.metrics[name]
            kept = self.counted[: len(rows[name]["counted"])]
            tensors = {**rows[name], "counted": rows[name]["counted"] * kept}
            summaries[name] = summary_row(metric.summarize(tensors, self.job.reference(name)), metric)
        return summaries

    def scores(self) -> dict[str, list[Any]]:
        columns = super().scores()
        for name in self.matched_metrics(columns):
            columns[name] = [
                value if kept else None for value, kept in zip(columns[name], self.counted.tolist(), strict=True)
            ]
        return columns

    def matched_metrics(self, names: Iterable[str]) -> list[str]:
        """The metrics among `names` that count matched images only."""
        return [
            name
            for name in names
            if name in self.job.parts.metrics and getattr(self.job.parts.metrics[name], "matched", False)
        ]


def match_images(cells: Sequence[GridCell], among: Sequence[GridCell]) -> list[GridCell]:
    """The cells, each restricted to the images on which all finished cells `among` them reached the goal, per data set.

    Repeats and points of a sweep count as separate methods. Cells without counterfactuals do not restrict the images.
    """
    common: dict[str, frozenset[str]] = {}
    for cell in among:
        if cell.state == "done" and (image_ids := find_reached(cell)) is not None:
            key = digest(cell.config["dataset"])
            common[key] = common[key] & image_ids if key in common else image_ids
    return [
        MatchedCell(cell.choices, cell.point, cell.config, folders=cell.folders, common=common[key])
        if cell.state == "done" and (key := digest(cell.config["dataset"])) in common
        else cell
        for cell in cells
    ]


def find_reached(cell: GridCell) -> frozenset[str] | None:
    """Ids of the images that a finished job's explainer brought to their goals; None for explainers without goals."""
    job, image_ids = cell.job, []
    if not job.parts.explains:
        return None
    for group in range(job.selection.n_groups):
        flipped = job.explanation(group).extra.get("flipped")
        if flipped is None:
            return None
        image_ids += [
            name for name, yes in zip(job.batch(group).image_id, (flipped > 0.5).tolist(), strict=True) if yes
        ]
        job.forget()
    return frozenset(image_ids)
