"""The input of explainers and metrics: images together with everything that a component needs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.sampler.base import Filler, Filling
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


@dataclass(frozen=True)
class Case:
    """Images, the classes to explain, and whatever else a component declares in `needs`. All other fields are empty.

    batch:         B images with the data set's annotations
    target:        int64 [B], the explained classes
    classifier:    the view of the explained classifier; a WhiteBox for components that use gradients or features
    streams:       random streams, keyed by image and purpose
    segments:      a partition of each image
    perturbations: perturbed versions of each image
    reference:     the result of the component's `fit`; empty for components without statistics of training images
    explanation, explanations: the scored explanation, and one more of the same images per entry of Metric.overrides()
    explain_again: (images=None, change=None) -> Explanation of all images of the case, with the same targets and random
    numbers: of other images [B,C,H,W], or of a copy of the classifier whose network `change` modified
    made:          what `once` has made of these images, by key
    """

    batch: Batch
    target: Tensor | None = None
    classifier: BlackBox | None = None
    streams: RandomStreams | None = None
    segments: Segments | None = None
    perturbations: Perturbations | None = None
    reference: Mapping[str, Tensor] = field(default_factory=dict)
    explanation: Explanation | None = None
    explanations: tuple[Explanation, ...] = ()
    explain_again: Callable[..., Explanation] | None = None
    made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def select(self, rows: slice | Sequence[int]) -> Case:
        """The case of some of the images, in the given order. It has no `explain_again`, which works on all images."""
        return replace(
            self,
            batch=self.batch.select(rows),
            target=None if self.target is None else self.target[rows if isinstance(rows, slice) else list(rows)],
            segments=self.segments and self.segments.select(rows),
            perturbations=self.perturbations and self.perturbations.select(rows),
            explanation=self.explanation and self.explanation.select(rows),
            explanations=tuple(explanation.select(rows) for explanation in self.explanations),
            explain_again=None,
            made={},
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.batch)

    def once(self, key: Hashable, make: Callable[[], Any], component: Any = None) -> Any:
        """The result of `make`, which is called at the first use of a key by any metric of these images.

        Args: key, component: all that the result depends on besides the images, their explanation and the seed. The
            component is the same object in all metrics that share the result, which must not be changed in place.
        """
        key = (key, id(component))
        if key not in self.made:
            self.made[key] = component, make()  # the component is held, so that no other one gets its id
        return self.made[key][1]

    def filling(self, filler: Filler) -> Filling:
        """Prepares a filler for the images of the case."""
        return filler.filling(self.batch.image, self.streams, self.batch.image_id, self.segments)
