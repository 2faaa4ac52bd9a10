"""Explanations of a job's images once more, which are not stored: for metrics that change images or the classifier."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pomelo_lab.classifier.base import BlackBox, view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.postprocessed import postprocessed
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job


@dataclass(frozen=True)
class ExplainAgain:
    """Explains some images of a group with the job's explainer.

    Args:
        job: whose explainer, sampler and statistics are used.
        group: of the job's images.
        rows: which images of the group.
        counter: the metric's view of the classifier, which counts the queries.
    Random: the same numbers as the stored explanations.
    """

    job: Job
    group: int
    rows: slice
    counter: BlackBox

    def __call__(self, images: Tensor | None = None, change: Callable[[nn.Module], None] | None = None) -> Explanation:
        """The explanations of the same targets.

        Args:
            images: [B,C,H,W] instead of the job's.
            change: alters a copy of the classifier's network, which is explained instead.
        """
        job, parts = self.job, self.job.parts
        explained = parts.classifier
        if change is not None:
            explained = copy.deepcopy(explained)
            change(explained.network)
        classifier = view(explained, parts.explainer.access, parts.batch_size, parts.device)
        statistics = job.statistics
        reference = statistics.explainer() if change is None else statistics.of_changed(explained.digest(), classifier)
        batch, target = job.batch(self.group).select(self.rows), job.target(self.group)[self.rows]
        if images is not None:
            batch = replace(batch, image=images)
        segments = self.segments(images)
        perturbations = self.perturbations(batch, segments, images is not None)
        if perturbations is not None:
            perturbations = replace(perturbations, probability=classifier.probability(perturbations.image))
        segments = segments if "segments" in parts.explainer.needs else None
        case = Case(batch, target, classifier, job.streams, segments, perturbations, reference)
        explanation = parts.explainer.explain(case)
        self.counter.queries += classifier.queries
        return postprocessed(parts.explainer, explanation)

    def segments(self, images: Tensor | None) -> Segments | None:
        """The segments that the explainer or the sampler looks at."""
        parts = self.job.parts
        needs = parts.explainer.needs
        if "segments" not in needs and not ("perturbations" in needs and parts.sampler.uses_segments):
            return None
        return self.job.segments(self.group).select(self.rows) if images is None else parts.segmenter.segment(images)

    def perturbations(self, batch: Batch, segments: Segments | None, changed: bool) -> Perturbations | None:
        """The perturbations that the explainer looks at: the job's, or new ones where the images were changed."""
        parts = self.job.parts
        if "perturbations" not in parts.explainer.needs:
            return None
        if changed:
            return parts.sampler.perturb(batch, segments, parts.n_perturbations, self.job.streams)
        return self.job.perturbations(self.group).select(self.rows)
