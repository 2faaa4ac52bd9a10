"""Removal of an object by a filler: whether the object is still recognised, and how similar the images remain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.perceptual_distance import LPIPSDistance, OracleDistance
from pomelo_lab.sampler.base import Filler
from pomelo_lab.types import Batch, Segments

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. (2003), finest scale first
WINDOW = 11


@dataclass(kw_only=True)
class Removal(Metric, ABC):
    """The base of scores that fill a part of the image and compare the result with the image.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 4.2 and Table 1. Departures: none; an
        empty mask gives NaN.
    Args:
        sampler: the filler. If the config leaves it out, the job's sampler is used; with sampler=none the image itself
            is scored.
        part: name of the annotated part; "label" is the part that determines the label.
        removes: "part" (deletion), or "rest" = all but the part (preservation, section 4.1).
    Cost: one fill per image, which all removals of the same part by the same filler share.
    Random: the filler draws from streams named "removal".
    """

    needs = frozenset({"masks"})
    random = True

    sampler: Filler | None = None
    part: str = "label"
    removes: Literal["part", "rest"] = "part"

    def score(self, case: Case) -> dict[str, Tensor]:
        key = ("removal", self.part, self.removes)
        filled = case.once(key, lambda: self.fill(case.batch, case.streams, case.segments), self.sampler)
        value = self.compare(case.batch.image, filled, case).double()
        return {"value": value.masked_fill(~case.batch.masks[self.part].flatten(1).any(1).to(value.device), torch.nan)}

    def fill(self, batch: Batch, streams: RandomStreams, segments: Segments | None) -> Tensor:
        """Fills the part in each image: [B,C,H,W]."""
        if self.part not in batch.masks:
            raise ValueError(
                f"metric {type(self).__name__}: part must be one of {', '.join(batch.masks)}, got {self.part!r}"
            )
        if self.sampler is None:
            return batch.image
        removed = batch.masks[self.part] if self.removes == "part" else ~batch.masks[self.part]
        keep = (~removed).to(batch.image)[:, None]
        return self.sampler.fill(batch.image, keep, streams.named("removal"), batch.image_id, segments)[:, 0]

    @abstractmethod
    def compare(self, image: Tensor, filled: Tensor, case: Case) -> Tensor:
        """The score of each pair of images: [B,C,H,W] twice -> [B]."""

    def shared_cost(self, shape: tuple[int, int, int]) -> Mapping[Hashable, Cost]:
        key = ("removal", self.part, self.removes, id(self.sampler))
        return {} if self.sampler is None else {key: self.sampler.fill_cost(1)}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return sum(self.shared_cost(shape).values(), Cost())


@dataclass(kw_only=True)
class RemovalAccuracy(Removal):
    """Whether the object's label is still the most probable one: 1 or 0. With removes=rest higher is better.

    Args: judge: a network other than the explained one, as in the paper (Inception-v3); None = the explained
        classifier.
    Cost: one query per image.
    """

    direction: ClassVar = "lower"
    needs = frozenset({"masks", "classifier"})

    judge: NetworkClassifier | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.removes == "rest":
            self.direction = "higher"

    def compare(self, image: Tensor, filled: Tensor, case: Case) -> Tensor:
        judge = case.classifier if self.judge is None else view(self.judge, "black_box", 256, image.device)
        return (judge.probability(filled).argmax(1) == case.batch.label.to(judge.device)).to(image.device)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return super().cost(shape, n_perturbations) + Cost(queries=int(self.judge is None))


@dataclass(kw_only=True)
class EverythingRemoved(Metric):
    """The target's probability on an image that the filler has replaced completely.

    A good filler leaves chance. Games that delete pixels end at this value, whatever the explainer.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 4.2 and Fig. 4 (0.3198 for the blur,
        chance being 0.001). Departures: none.
    Args: sampler: the filler. If the config leaves it out, the job's sampler is used; with sampler=none the image
        itself is scored.
    Cost: one query and one fill per image.
    Random: the filler draws from streams named "everything_removed".
    """

    direction: ClassVar = "lower"
    needs = frozenset({"classifier"})
    random = True

    sampler: Filler | None = None

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image
        if self.sampler is not None:
            nothing = torch.zeros_like(image[:, :1])
            image = self.sampler.fill(
                image, nothing, case.streams.named("everything_removed"), case.batch.image_id, case.segments
            )[:, 0]
        return {
            "value": case.classifier.probability_of(
                lambda start, stop: image[start:stop], len(image), case.target
            ).double()
        }

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=1) + (Cost() if self.sampler is None else self.sampler.fill_cost(1))


@dataclass(kw_only=True)
class RemovalMSSSIM(Removal):
    """Multi-scale structural similarity, by torchmetrics; lower = more was removed.

    Source: Wang et al. (2003), https://doi.org/10.1109/ACSSC.2003.1292216. Departures: images of less than 176 pixels
        do not have five scales for a window of 11. They get as many as fit, with the weights of the finest ones, scaled
        to the same sum.
    """

    direction: ClassVar = "lower"

    def compare(self, image: Tensor, filled: Tensor, case: Case) -> Tensor:
        from pomelo_lab.compat import ensure

        ensure()
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

        return ms_ssim(filled, image, data_range=1.0, betas=scale_weights(min(image.shape[2:])), reduction="none")


@dataclass(kw_only=True)
class RemovalLPIPS(LPIPSDistance, Removal):
    """Learned perceptual distance; higher = more was removed.

    Source: see LPIPSDistance. Departures: none.
    """

    direction: ClassVar = "higher"
    instead = "metrics=removal (removal_lpips_oracle)"

    net: Literal["alex", "vgg", "squeeze"] = "alex"

    def compare(self, image: Tensor, filled: Tensor, case: Case) -> Tensor:
        return self.distance(filled, image)


@dataclass(kw_only=True)
class RemovalLPIPSOracle(OracleDistance, Removal):
    """The distance of RemovalLPIPS in layers of our oracle. It is not comparable with a published LPIPS.

    Source: see OracleDistance.
    """

    direction: ClassVar = "higher"

    def compare(self, image: Tensor, filled: Tensor, case: Case) -> Tensor:
        return self.distance(image, filled)


def scale_weights(side: int) -> tuple[float, ...]:
    """The weights of the scales that an image of this side has for a window of 11 pixels.

    Raises: ValueError when it has none.
    """
    n = 0
    while n < len(MS_SSIM_WEIGHTS) and side // 2**n >= WINDOW and side > (WINDOW - 1) * 2**n:
        n += 1
    if n == 0:
        raise ValueError(
            f"metric RemovalMSSSIM needs images of {WINDOW} pixels or more, got {side}: set dataset.size_px"
        )
    larger = sum(MS_SSIM_WEIGHTS) / sum(MS_SSIM_WEIGHTS[:n])
    return tuple(weight * larger for weight in MS_SSIM_WEIGHTS[:n])
