"""Base classes of gradient methods, which explain one answer of the network, with or without a baseline image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.sampler.base import Filler
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class GradientExplainer(Explainer, ABC):
    """An attribution of every pixel from attributions of its channels.

    Args:
        answer: the explained answer for the target: its logit, or its probability.
        channels: reduction over the channels of a pixel: sum, sum_abs or max_abs.
    Shapes: attribution [B,H,W].
    """

    gives = frozenset({"attribution"})
    access: ClassVar[str] = "white_box"

    answer: Literal["logit", "probability"] = "logit"
    channels: Literal["sum", "sum_abs", "max_abs"] = "sum"

    @abstractmethod
    def values(self, module: nn.Module, case: Case) -> Tensor:
        """Attributions [B,C,H,W] of `module`, which maps images to answers [B,K]."""

    @property
    def copies(self) -> int:
        """Number of forward passes per image that run at once."""
        return 1

    @property
    def n_points(self) -> int:
        """Number of points of each image at which `values` takes gradients."""
        return 1

    @torch.enable_grad()
    def explain(self, case: Case) -> Explanation:
        self.check(case.classifier, case.batch.image[:1])
        module = case.classifier.module(self.answer)

        def part(start: int, stop: int) -> tuple[Tensor, ...]:
            return self.explain_part(module, case.select(slice(start, stop)))

        maps, *numbers = case.classifier.forwards.rows(part, len(case), self.copies)
        extra = dict(zip(self.number_names, numbers, strict=True))
        return Explanation(target=case.target, attribution=maps, extra=extra)

    number_names: ClassVar[tuple[str, ...]] = ()  # names of the extras that `explain_part` returns after the map

    def explain_part(self, module: nn.Module, case: Case) -> tuple[Tensor, ...]:
        """Explains images that fit into memory together: (maps [B,H,W], extras [B] ...)."""
        return (self.join_channels(self.values(module, case)),)

    def join_channels(self, values: Tensor) -> Tensor:
        """Reduces the channels of a pixel: [B,C,H,W] -> [B,H,W]."""
        values = values.detach().float()
        if self.channels == "sum":
            return values.sum(1)
        return values.abs().sum(1) if self.channels == "sum_abs" else values.abs().amax(1)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=self.copies * self.n_points)


@dataclass(frozen=True, kw_only=True)
class BaselineCase(Case):
    """A case with a baseline for every image.

    baseline:   [B,C,H,W]
    difference: [B], the answer for the image minus that for the baseline
    """

    baseline: Tensor
    difference: Tensor

    def select(self, rows: slice | Sequence[int]) -> BaselineCase:
        chosen = rows if isinstance(rows, slice) else list(rows)
        return replace(super().select(rows), baseline=self.baseline[chosen], difference=self.difference[chosen])


@dataclass(kw_only=True)
class BaselineExplainer(GradientExplainer, ABC):
    """An attribution of the difference between the answers for the image and for a baseline.

    Args: sampler: the filler whose fully replaced image is the baseline. If the config leaves it out, the job's sampler
        is used. captum's default is zero after the network's normalisation, which is about the sampler `mean_dataset`.
    Shapes: extra [B], for the completeness metric: "total", the sum of all attributions, and "difference", the answer
        for the image minus that for the baseline.
    """

    number_names = ("total", "difference")

    sampler: Filler

    @abstractmethod
    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        """Attributions [B,C,H,W] of `module`, which maps images to answers [B,K]."""

    def explain_part(self, module: nn.Module, case: Case) -> tuple[Tensor, ...]:
        image = case.batch.image
        filling = case.filling(self.sampler)
        row = torch.arange(len(image), device=image.device)
        baseline = filling(row, image.new_zeros(len(image), *image.shape[2:]), torch.zeros_like(row))
        with torch.no_grad():
            ends = [module(end).gather(1, case.target[:, None])[:, 0].float() for end in (image, baseline)]
        difference = ends[0] - ends[1]
        values = self.values(module, BaselineCase(**vars(case), baseline=baseline, difference=difference)).detach()
        return self.join_channels(values), values.float().sum((1, 2, 3)), difference

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=2) + self.sampler.fill_cost(1)


def gradient(module: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """The gradient of the answer with respect to the image: [M,C,H,W]."""
    images = images.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(module(images).gather(1, target[:, None]).sum(), images)
    return slope
