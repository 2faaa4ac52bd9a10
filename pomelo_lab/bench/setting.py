"""What all comparisons share: one portrait, its segments, two classifiers with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.segmenter.slic import SlicSegmenter
from pomelo_lab.types import Batch, Segments

JUDGED = "resnet18"  # targets relative to the classifier's own time are promised for this one


def networks() -> dict[str, Classifier]:
    """An ordinary network and a very cheap one; weights do not matter for time."""
    return {
        JUDGED: TorchvisionClassifier(num_classes=5, architecture="resnet18"),
        "residual": ResidualClassifier(num_classes=5),
    }


@dataclass(frozen=True)
class Setting:
    """The common ground of the comparisons.

    size_px:     of the portraits
    n_segments:  asked of SLIC
    repeats:     timed rounds, after a warm-up
    seed:        of masks and orders
    classifiers: name -> classifier; the one named "resnet18" is the one that targets refer to
    """

    size_px: int = 64
    n_segments: int = 65
    repeats: int = 5
    seed: int = 0
    classifiers: Mapping[str, Classifier] = field(default_factory=networks)

    @cached_property
    def dataset(self) -> Portraits:
        return Portraits(size_px=self.size_px)

    @cached_property
    def batch(self) -> Batch:
        """The portrait that everything is measured on."""
        return self.dataset.batch([0])

    @cached_property
    def segments(self) -> Segments:
        return SlicSegmenter(n_segments=self.n_segments).segment(self.batch.image)
