"""What the adapters over captum share: one answer of the network explained through its gradients, with or without a
baseline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.sampler.base import Filler
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


@dataclass(kw_only=True)
class GradientExplainer(Explainer, ABC):
    """An attribution of every value of the image, channels put together.

    Args:
        answer: what of the target is explained: its logit, or its probability.
        channels: how the values of a pixel become one: sum, sum_abs or max_abs.
    Shapes: attribution [B,H,W].
    """

    gives = frozenset({"attribution"})
    access: ClassVar[str] = "white_box"

    answer: Literal["logit", "probability"] = "logit"
    channels: Literal["sum", "sum_abs", "max_abs"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.signed = self.channels == "sum"

    @abstractmethod
    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: RandomStreams, **more: Any) -> Tensor:
        """Attributions [B,C,H,W] of `module`, images to answers [B,K]."""

    @property
    def copies(self) -> int:
        """Forward passes per image at once."""
        return 1

    @torch.enable_grad()
    def explain(
        self,
        batch: Batch,
        target: Tensor,
        classifier: WhiteBox,
        streams: RandomStreams,
        segments: Segments | None = None,
        perturbations: Perturbations | None = None,
    ) -> Explanation:
        self.check(classifier, batch.image[:1])
        module = classifier.module(self.answer)

        def some(start: int, stop: int) -> tuple[Tensor, ...]:
            return self.part(
                module,
                batch.select(slice(start, stop)),
                target[start:stop],
                streams,
                segments and segments.select(slice(start, stop)),
            )

        maps, *numbers = classifier.forwards.rows(some, len(batch), self.copies)
        return Explanation(target=target, attribution=maps, extra=dict(zip(self.named, numbers, strict=True)))

    named: ClassVar[tuple[str, ...]] = ()  # of the numbers that `part` gives beside the map

    def part(
        self, module: nn.Module, batch: Batch, target: Tensor, streams: RandomStreams, segments: Segments | None
    ) -> tuple[Tensor, ...]:
        """(maps [B,H,W], numbers ...) of images that fit at once."""
        return (self.mapped(self.values(module, batch, target, streams)),)

    def mapped(self, values: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,H,W]."""
        values = values.detach().float()
        if self.channels == "sum":
            return values.sum(1)
        return values.abs().sum(1) if self.channels == "sum_abs" else values.abs().amax(1)

    def queries(self, shape: tuple[int, int, int]) -> int:
        return self.copies


@dataclass(kw_only=True)
class BaselineExplainer(GradientExplainer, ABC):
    """An attribution of the difference between the answers for the image and for a baseline.

    Args: sampler: the filler whose fully replaced image is the baseline; left out of the config it is the job's.
        captum's default, zeros behind the network's scaling, is about `mean_dataset`.
    Shapes: extra [B], for the completeness metric: "total", the sum of all attributions, and "difference", the answer
        for the image minus that for the baseline.
    """

    named = ("total", "difference")

    sampler: Filler

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampler.fill_uses_segments:
            self.uses = self.uses | {"segments"}

    def part(
        self, module: nn.Module, batch: Batch, target: Tensor, streams: RandomStreams, segments: Segments | None
    ) -> tuple[Tensor, ...]:
        image = batch.image
        filling = self.sampler.filling(image, streams, batch.image_id, segments)
        row = torch.arange(len(image), device=image.device)
        baseline = filling(row, image.new_zeros(len(image), *image.shape[2:]), torch.zeros_like(row))
        with torch.no_grad():
            ends = [module(end).gather(1, target[:, None])[:, 0].float() for end in (image, baseline)]
        difference = ends[0] - ends[1]
        values = self.values(
            module, batch, target, streams, baseline=baseline, segments=segments, difference=difference
        ).detach()
        return self.mapped(values), values.float().sum((1, 2, 3)), difference

    def queries(self, shape: tuple[int, int, int]) -> int:
        return self.copies + 2

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        return self.sampler.fill_evaluations(1)


def gradient(module: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """d answer / d image [M,C,H,W]."""
    images = images.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(module(images).gather(1, target[:, None]).sum(), images)
    return slope
