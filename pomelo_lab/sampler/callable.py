"""A user's in-painter as a filler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import MicroBatches, RandomStreams
from pomelo_lab.classifier.callable import import_function, split_path
from pomelo_lab.classifier.users_code import ask
from pomelo_lab.config.hints import NotFingerprinted
from pomelo_lab.config.source import code_digest
from pomelo_lab.cost import Cost
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.sampler.base import Filler, Filling
from pomelo_lab.types import Segments

AT_ONCE = 64  # images that the function receives at most


@dataclass(kw_only=True)
class CallableSampler(Filler):
    """Fills removed pixels by a user's function, such as a public in-painting network or a service.

    SP, LIME, MP2 and FIDO with this filler are SP-G, LIME-G, MP2-G and FIDO-CA with that in-painter.

    Source: own. Departures: none.
    Args:
        function: "package.module:function", or "path/to/file.py:function"; (images, holes) -> images. It loads its
            network itself, once.
        version: a text that enters the address of stored results, as the code does: the source of the module or file
            and of the user's modules that it imports. Change it when answers change for another reason, such as other
            weights.
    Shapes: the function receives at most 64 images at once, float32 [M,C,H,W] in [0,1], with the removed pixels, and
        holes [M,1,H,W] (1 = to fill). It returns images [M,C,H,W]. Only the pixels in holes are used, clamped to [0,1];
        MP2 also reads the others.
    Cost: one evaluation of the function per fill.
    Random: none besides the segments dropped: the function must answer the same for the same image and hole.
    Raises: ValueError when the function cannot be found, or answers another shape or numbers that are not finite.
    """

    context: ClassVar[str] = "mask"

    function: Annotated[str, NotFingerprinted()] = "pomelo_lab.sampler.callable:mean_of_kept"
    version: str | int | float = "1"
    _call: Callable[[Tensor, Tensor], Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._call = import_function(self.function, "sampler.function")

    @classmethod
    def more_provenance(cls, given: Mapping[str, Any]) -> list[str]:
        """The name and the code of the function, which identify it wherever its file lies."""
        source, name = split_path(given["function"], "sampler.function")
        import_function(given["function"], "sampler.function")
        return [code_digest(source, "sampler.function"), name]

    def filling(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None = None
    ) -> Filling:
        def replacement(row: Tensor, keep: Tensor, index: Tensor) -> Tensor:
            return MicroBatches(AT_ONCE).rows(
                lambda start, stop: self.call_function(image[row[start:stop]], keep[start:stop]), len(row)
            )

        return Filling(image, replacement)

    @torch.no_grad()
    def call_function(self, images: Tensor, keep: Tensor) -> Tensor:
        """Images [M,C,H,W] filled by the user's function, given keep [M,H,W] (below 0.5 = hole)."""
        EvaluationCounter.n += len(images)
        answer = ask(self._call, f"sampler.function {self.function}", images.clone(), (keep < 0.5)[:, None].to(images))
        try:
            answer = torch.as_tensor(answer, device=images.device).to(images.dtype)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"sampler.function {self.function} must answer images, got {type(answer).__name__} ({error})"
            ) from None
        if answer.shape != images.shape or not answer.isfinite().all():
            got = list(answer.shape) if answer.shape != images.shape else "numbers that are not finite"
            raise ValueError(
                f"sampler.function {self.function} must answer finite images {list(images.shape)}, got {got}"
            )
        return answer.clamp(0, 1)

    def fill_cost(self, n: int) -> Cost:
        return Cost(evaluations=n)


def mean_of_kept(images: Tensor, holes: Tensor) -> Tensor:
    """An example of such a function: holes get the mean colour of the kept pixels."""
    keep = 1 - holes
    mean = (images * keep).sum((2, 3), keepdim=True) / keep.sum((2, 3), keepdim=True).clamp_min(1)
    return mean.expand_as(images)
