"""Repeated explanations for metrics that change the images or the classifier. They are not stored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pomelo_lab.classifier.base import BlackBox, view
from pomelo_lab.engine import promise
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.postprocessed import postprocessed
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job


@dataclass(frozen=True)
class ExplainAgain:
    """Explains some images of a group with the job's explainer.

    Args:
        job: the job whose explainer, sampler and statistics are used.
        group: a group of the job's images.
        rows: the images of the group that are explained.
        counter: the metric's view of the classifier. It counts the queries.
    Random: the same numbers as the stored explanations.
    """

    job: Job
    group: int
    rows: slice
    counter: BlackBox

    def __call__(self, images: Tensor | None = None, change: Callable[[nn.Module], None] | None = None) -> Explanation:
        """Explains the same targets as the stored explanations.

        Args:
            images: [B,C,H,W] that are explained instead of the job's; None = the job's images.
            change: changes a copy of the classifier's network, which is then explained; None = the job's classifier.
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
        explanation = promise.explain(parts.explainer, case)
        self.counter.queries += classifier.queries
        return postprocessed(parts.explainer, explanation)

    def segments(self, images: Tensor | None) -> Segments | None:
        """The segments that the explainer or the sampler uses. None when neither uses segments."""
        parts = self.job.parts
        needs = parts.explainer.needs
        if "segments" not in needs and not ("perturbations" in needs and parts.sampler.uses_segments):
            return None
        return self.job.segments(self.group).select(self.rows) if images is None else parts.segmenter.segment(images)

    def perturbations(self, batch: Batch, segments: Segments | None, changed: bool) -> Perturbations | None:
        """The perturbations that the explainer uses: those of the job, or new ones when the images were changed."""
        parts = self.job.parts
        if "perturbations" not in parts.explainer.needs:
            return None
        if changed:
            return promise.perturb(parts.sampler, batch, segments, parts.n_perturbations, self.job.streams)
        return self.job.perturbations(self.group).select(self.rows)
