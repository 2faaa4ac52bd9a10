"""The setting of all comparisons: one portrait, its segments and two classifiers with random weights."""

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

JUDGED = "resnet18"  # targets relative to the classifier's time hold for this classifier


def networks() -> dict[str, Classifier]:
    """A common network and a very fast one. They have random weights, which do not affect the time."""
    return {
        JUDGED: TorchvisionClassifier(num_classes=5, architecture="resnet18"),
        "residual": ResidualClassifier(num_classes=5),
    }


@dataclass(frozen=True)
class Setting:
    """The data, networks and settings that all comparisons share.

    size_px:     side of the portraits
    n_segments:  number of segments that SLIC aims for
    repeats:     number of timed rounds after the warm-up
    seed:        seed of masks and orders
    classifiers: name -> classifier; targets refer to the one named "resnet18"
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
        """The portrait of all comparisons, as a batch of one image."""
        return self.dataset.batch([0])

    @cached_property
    def segments(self) -> Segments:
        return SlicSegmenter(n_segments=self.n_segments).segment(self.batch.image)
