"""The ideal full-input sampler: portraits rendered again with some of their causes redrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Fraction
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.dataset.causal_model import NOISE
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.dataset.portraits_causes import CAUSES
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.types import Batch, Perturbations, Segments, to_8_bits

GROUPS = ("person", "style", "expression", "scene")


@dataclass(kw_only=True)
class IdealSampler(Sampler):
    """Redraws each chosen cause with some probability and renders the portrait again.

    The images are in-distribution by construction. They differ from the original in few causes.

    Source: own; the row "limit". A cause that is not redrawn keeps its own noise: it stays as it is, unless one of its
        causes changed and the causal model makes it follow (an older person's hair may turn gray). Departures: none.
    Args:
        dataset: portraits. If the config leaves it out, the job's data set is used.
        factors: causes that may be redrawn: names of causes, or of groups of them (person, style, expression, pose,
            scene). The pose is left alone by default, so that segments keep their meaning.
        p_change: probability with which each cause is redrawn, independently for each perturbation.
        keep_first: perturbation 0 is the image itself.
    Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
    Cost: one rendering without masks per perturbation, about 1.5 ms at 64x64; no network.
    Random: two uniform draws per perturbation and cause ("ideal.change", "ideal.value").
    Raises: ValueError for unknown causes, and for images whose causes are unknown.
    """

    dataset: Portraits
    factors: list[str] = field(default_factory=lambda: list(GROUPS))
    p_change: Fraction = 0.5
    keep_first: bool = True

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        """Reports unknown names in `factors`."""
        groups = tuple(dict.fromkeys(cause.group for cause in CAUSES))
        known = (*groups, *(cause.name for cause in CAUSES), "mark")
        unknown = [name for name in given["factors"] if name not in known]
        return [
            f"factors: {name!r} is no cause of portraits{did_you_mean(str(name), known)}; expected a group "
            f"({', '.join(groups)}) or a cause"
            for name in unknown
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The causes that may be redrawn, in causal order."""
        return tuple(
            name
            for name, cause in self.dataset.model.causes.items()
            if name in self.factors or cause.group in self.factors
        )

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        if batch.factors is None:
            raise ValueError("sampler=ideal re-renders images from their causes: it needs dataset=portraits")
        names = self.names
        change = streams.uniform(batch.image_id, "ideal.change", n, len(names)) < self.p_change
        value = streams.uniform(batch.image_id, "ideal.value", n, len(names))
        original = batch.factors[NOISE][:, [self.dataset.model.position[name] for name in names]].cpu()
        u = torch.where(change, value, original[:, None])
        image = batch.image.new_empty(len(batch), n, *batch.image.shape[1:], dtype=torch.uint8)
        for i, row in enumerate(image):  # one image at a time: n float images are in memory, not B x n
            row.copy_(
                Perturbations.quantize(
                    self.render({k: t[i : i + 1].cpu() for k, t in batch.factors.items()}, u[i : i + 1])
                )
            )
        if self.keep_first and n:
            image[:, 0] = to_8_bits(batch.image)
        return Perturbations(image=image)

    def render(self, factors: Mapping[str, Tensor], u: Tensor) -> Tensor:
        """n versions of one portrait, whose causes are drawn from u [1,n,len(names)]: float32 [n,3,H,W]."""
        return self.dataset.render(self.dataset.resample(factors, self.names, u), with_masks=False)[0]
