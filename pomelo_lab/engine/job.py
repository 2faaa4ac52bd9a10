"""Jobs: one configuration over its images. Each artefact is computed when it is first needed.

Each stage is one method. It returns the artefact of a group of images, either stored or computed from earlier stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.target import class_index
from pomelo_lab.config.tree import override
from pomelo_lab.engine import promise
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.cache import Cache, StoredArtefacts
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.explain_again import ExplainAgain
from pomelo_lab.engine.provenance import Provenance
from pomelo_lab.engine.selection import Selection
from pomelo_lab.engine.statistics import Statistics
from pomelo_lab.engine.store import Shard, Store
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.postprocessed import postprocessed
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


class Job:
    """The stages of one configuration over its images.

    parts: the job's components; selection: its images; provenance: what determines each artefact; cache: its artefacts;
    statistics: the statistics of training images that its explainer and metrics use.

    Args:
        config: resolved plain mapping with the top-level keys of conf/run.yaml.
        store: the store of artefacts on disk.
        device: the device of the networks.
        cache: `StoredArtefacts` for a job that only reads its artefacts.
    """

    def __init__(
        self, config: Mapping[str, Any], store: Store, device: torch.device | str = "cpu", cache: type[Cache] = Cache
    ) -> None:
        self.config = config
        self.store = store
        self.streams = RandomStreams(config["seed"])
        self.parts = Components(config, device)
        self.selection = Selection(self.parts, self._is_correct)
        self.provenance = Provenance(self.parts, self.selection, self._sibling_provenances)
        self.cache = cache(store, self.parts, self.selection)
        self.statistics = Statistics(self.provenance, self.cache, self.streams)
        self._siblings: dict[str, Job] = {}

    @property
    def fingerprint(self) -> str:
        """The name of the job's score folder."""
        return self.provenance.fingerprint

    @cached_property
    def reader(self) -> Job:
        """The same job, which only reads. Its stages return stored artefacts and raise NotStored for missing ones.

        Tables and figures use it, so that they never run a network.
        """
        return Job(self.config, self.store, self.parts.device, StoredArtefacts)

    @cached_property
    def all_images(self) -> Job:
        """The job on all images of the data set, including those that the classifier gets wrong."""
        return self._with_values({"images": "all", "n_images": len(self.parts.dataset)})

    def _with_values(self, changes: Mapping[str, Any]) -> Job:
        """This job with some config values replaced."""
        return Job(override(self.config, changes), self.store, self.parts.device, type(self.cache))

    def _is_correct(self, group: int) -> Tensor:
        """Whether the classifier predicts the label of each image, bool [b], for a group of the whole data set."""
        correct = self.all_images.clean(group).argmax(-1) == self.all_images.label(group)
        self.all_images.forget()
        return correct

    def siblings(self, metric: Metric) -> list[Job]:
        """The jobs whose explanations a metric compares: this job with some config values replaced."""
        return [self._sibling(changes) for changes in metric.overrides()]

    def _sibling(self, changes: Mapping[str, Any]) -> Job:
        key = digest(changes)
        if key not in self._siblings:
            self._siblings[key] = self._with_values(changes)
            self._siblings[key].cache.tell = lambda kind: self.cache.tell(kind)
        return self._siblings[key]

    def _sibling_provenances(self, metric: Metric) -> list[Provenance]:
        return [sibling.provenance for sibling in self.siblings(metric)]

    def forget(self) -> None:
        """Frees the artefacts of the current group of images in memory."""
        self.cache.clear()
        for sibling in self._siblings.values():
            sibling.forget()

    # --- stages ---------------------------------------------------------------------------------------------------

    def batch(self, group: int) -> Batch:
        return self.cache.batch(group)

    def label(self, group: int) -> Tensor:
        """The labels of a group. They need no images if the data set knows its labels."""
        return self.cache.label(group)

    def image_id(self, group: int) -> list[str]:
        """The names of a group's images, read from the artefact of the clean images."""
        return self._clean(group).meta["image_id"]

    def segments(self, group: int) -> Segments:
        return self.cache.once("segments", "", group, lambda: self.parts.segmenter.segment(self.batch(group).image))

    def clean(self, group: int) -> Tensor:
        """Class probabilities [B,K] of the unperturbed images."""
        return self._clean(group).tensors["probability"].to(self.parts.device)

    def _clean(self, group: int) -> Shard:
        return self.cache.get(
            Artefact(
                kind="clean",
                provenance=self.provenance.clean,
                group=group,
                inputs=lambda: self.batch(group).image,
                make=lambda classifier, images: {"probability": classifier.probability(images)},
            )
        )

    def target(self, group: int) -> Tensor:
        """The explained class of each image, according to the job's `target`."""
        rule = self.config["target"]
        if rule == "predicted":
            return self.clean(group).argmax(-1)
        label = self.label(group)
        return label if rule == "label" else torch.full_like(label, class_index(rule, self.parts.target_names))

    def perturbations(self, group: int, probability: bool = False) -> Perturbations:
        """The perturbed images of a group.

        Args: probability: include the classifier's probabilities of the perturbed images.
        """

        def make(_: BlackBox | None, inputs: tuple[Batch, Segments | None]) -> dict[str, Tensor]:
            drawn = promise.perturb(self.parts.sampler, *inputs, self.parts.n_perturbations, self.streams)
            return {"image": drawn.image} | ({} if drawn.keep_mask is None else {"keep_mask": drawn.keep_mask})

        shard = self.cache.get(
            Artefact(
                kind="perturbation",
                provenance=self.provenance.perturbation,
                group=group,
                inputs=lambda: (self.batch(group), self.segments(group) if self.parts.sampler.uses_segments else None),
                make=make,
                write=self.stores_perturbations,
            )
        )
        perturbations = Perturbations(**{name: tensor.to(self.parts.device) for name, tensor in shard.tensors.items()})
        if not probability:
            return perturbations
        answered = self.cache.get(
            Artefact(
                kind="prediction",
                provenance=self.provenance.prediction,
                group=group,
                inputs=lambda: perturbations.image,
                make=lambda classifier, images: {"probability": classifier.probability(images)},
            )
        )
        return Perturbations(
            perturbations.image, perturbations.keep_mask, answered.tensors["probability"].to(self.parts.device)
        )

    def explanation(self, group: int) -> Explanation:
        explainer = self.parts.explainer

        def make(classifier: BlackBox, case: Case) -> dict[str, Tensor]:
            return promise.explain(explainer, replace(case, classifier=classifier)).tensors()

        shard = self.cache.get(
            Artefact(
                kind="explanation",
                provenance=self.provenance.stored_explanation,
                group=group,
                inputs=lambda: self.case(group),
                make=make,
                access=explainer.access,
            )
        )
        stored = Explanation.from_tensors(
            {name: tensor.to(self.parts.device) for name, tensor in shard.tensors.items()}
        )
        return postprocessed(explainer, stored)

    def case(self, group: int) -> Case:
        """The explainer's inputs for a group of images, without the classifier."""
        needs = self.parts.explainer.needs
        return Case(
            batch=self.batch(group),
            target=self.target(group),
            streams=self.streams,
            segments=self.segments(group) if "segments" in needs else None,
            perturbations=self.perturbations(group, probability=True) if "perturbations" in needs else None,
            reference=self.statistics.explainer(),
        )

    def reference(self, name: str) -> Mapping[str, Tensor]:
        """The statistics of training images that a metric uses. Empty when it uses none."""
        return self.statistics.metric(name)

    def score(self, name: str, group: int) -> Shard | None:
        """The scores of one metric on one group of images. None when the metric's `n_images` end before the group."""
        metric = self.parts.metrics[name]
        size = self.selection.group_size(group, metric.n_images)
        if not size:
            return None

        def case() -> Case:
            needs = metric.needs
            self._hold_for_explaining_again(metric, group)
            with_probability = "classifier" in needs
            siblings = self.siblings(metric) if "explanations" in needs else []
            whole = Case(
                batch=self.batch(group),
                target=self.target(group),
                streams=self.streams,
                segments=self.segments(group) if "segments" in needs else None,
                perturbations=self.perturbations(group, with_probability) if "perturbations" in needs else None,
                reference=self.reference(name),
                explanation=self.explanation(group) if "explanation" in needs else None,
                explanations=tuple(sibling.explanation(group) for sibling in siblings),
            )
            made = self.cache.once("made", str(metric.n_images), group, dict)
            return replace(whole.select(slice(0, size)), made=made)

        def make(classifier: BlackBox, case: Case) -> Mapping[str, Tensor]:
            again = ExplainAgain(self, group, slice(0, size), classifier) if "explain_again" in metric.needs else None
            with promise.named(metric):
                return metric.score(replace(case, classifier=classifier, explain_again=again))

        return self.cache.get(
            Artefact(
                kind="metric",
                provenance=self.provenance.metric(name),
                group=group,
                inputs=case,
                make=make,
                access=metric.access,
                n_images=size,
            )
        )

    def _hold_for_explaining_again(self, metric: Metric, group: int) -> None:
        """Holds what `ExplainAgain` takes from the job in memory, so that the metric's `make` takes no other lock but
        those of parts of statistics that only the changed classifier determines."""
        with_other_images, with_changed_classifier = metric.explanations(self.parts.classifier)
        needs = self.parts.explainer.needs
        if with_other_images:
            self.statistics.explainer()
        if with_changed_classifier and not self.statistics.changed:
            self.statistics.prepare_parts()
        if with_changed_classifier and "segments" in needs:
            self.segments(group)
        if with_changed_classifier and "perturbations" in needs:
            self.perturbations(group)

    @property
    def perturbation_bytes(self) -> int:
        """The size of the job's perturbations on disk, with one byte per value."""
        channels, height, width = self.parts.dataset.shape
        return self.selection.n_asked * self.parts.n_perturbations * channels * height * width

    @property
    def stores_perturbations(self) -> bool:
        """Whether the job's perturbations are stored: all of them together must fit into `keep_gb`.

        Otherwise they are computed again when they are needed.
        """
        return self.perturbation_bytes <= self.config["keep_gb"] * 1e9
