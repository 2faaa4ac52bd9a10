"""One point of a grid: its artefacts, pulled when they are needed.

Every stage is one method that returns the artefact of a group of images from the store, or makes it from the artefacts
before it. Nothing is computed that a stored artefact already holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, view
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.target import class_index
from pomelo_lab.config.tree import override
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.cache import Cache
from pomelo_lab.engine.selection import Selection
from pomelo_lab.engine.store import Shard, Store
from pomelo_lab.explainer.base import Made
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


class Job(Selection):
    """The stages of one configuration over its images.

    Args:
        config: resolved plain mapping with the top-level keys of conf/run.yaml.
        store: where artefacts live.
        device: where networks run.
    """

    def __init__(self, config: Mapping[str, Any], store: Store, device: torch.device | str = "cpu") -> None:
        super().__init__(config, device)
        self.store = store
        self.streams = RandomStreams(config["seed"])
        self.tell: Callable[[str], None] = lambda kind: None  # what it is making now
        self.cache = Cache(self)
        self._siblings: dict[str, Job] = {}
        # statistics of changed classifiers, for metrics that explain again
        self._refits: dict[str, Mapping[str, Tensor]] = {}

    # --- images and groups ----------------------------------------------------------------------------------------

    @property
    def whole(self) -> Job:
        return Job({**self.config, "images": "all", "n_images": len(self.dataset)}, self.store, self.device)

    def is_stored(self) -> bool:
        """Whether all that a finished job leaves for others is there and undamaged: its explanations, scores per image
        and statistics."""
        artefacts = [("explanation", self.made_explanation_science, None)] if self.explains else []
        artefacts += [("metric", self.metric_science(name), metric.n_images) for name, metric in self.metrics.items()]
        fits = [self.reference_science(name) for name, metric in self.metrics.items() if metric.fits]
        for kind, science in [
            *((kind, science) for kind, science, _ in artefacts),
            *(("reference", science) for science in fits),
        ]:
            self.store.describe(kind, digest(science), science)
        sizes = [
            (kind, digest(science), g, self.group_size(g, n))
            for kind, science, n in artefacts
            for g in range(self.n_groups)
        ]
        sizes += [("reference", digest(science), 0, 0) for science in fits]
        return all([self.store.is_whole(*shard) for shard in sizes if shard[3] or shard[0] == "reference"])

    def refresh(self, anew: set[tuple[str, str]], scores: bool = True) -> None:
        """Remove all that the job's numbers rest on but trained weights and parts of statistics, so that it is computed
        anew (`force=true`).

        Nothing old is mixed with what is new, whatever a fingerprint cannot see: another library, another machine, a
        service.

        Args:
            anew: what this command has removed already, for the other jobs of its grid, which share it.
            scores: False for jobs whose explanations alone are asked for.
        """
        stages = {"clean": [(self.whole if self.chooses else self).clean_science, self.clean_science]}
        if self.perturbs:
            stages |= {"perturbation": [self.perturbation_science], "prediction": [self.prediction_science]}
        if self.explains:
            stages["explanation"] = [self.made_explanation_science]
            stages["reference"] = [self.fit_science] if self.explainer.fitted else []
        for name, metric in self.metrics.items() if scores else ():
            stages.setdefault("metric", []).append(self.metric_science(name))
            if metric.fits:
                stages.setdefault("reference", []).append(self.reference_science(name))
            for sibling in self.siblings(metric):
                sibling.refresh(anew, scores=False)
        for artefact in {(kind, digest(science)) for kind, sciences in stages.items() for science in sciences} - anew:
            self.store.drop(*artefact)
            anew.add(artefact)

    def forget(self) -> None:
        """Drop what is held in memory for the group at hand."""
        self.cache.clear()
        for sibling in self._siblings.values():
            sibling.forget()

    # --- stages ---------------------------------------------------------------------------------------------------

    def batch(self, group: int) -> Batch:
        return self.cache.once(
            "batch", "", group, lambda: self.named(self.dataset.batch(self.indices(group)), group).to(self.device)
        )

    def segments(self, group: int) -> Segments:
        return self.cache.once("segments", "", group, lambda: self.segmenter.segment(self.batch(group).image))

    def clean(self, group: int) -> Tensor:
        """Class probabilities [B,K] of the unperturbed images."""
        shard = self.cache.get(
            Artefact(
                kind="clean",
                provenance=self.clean_science,
                group=group,
                inputs=lambda: self.batch(group).image,
                make=lambda box, images: {"probability": box.probability(images)},
            )
        )
        return shard.tensors["probability"].to(self.device)

    def target(self, group: int) -> Tensor:
        """The explained class of each image, by the target rule."""
        rule = self.config["target"]
        if rule == "predicted":
            return self.clean(group).argmax(-1)
        label = self.batch(group).label
        return label if rule == "label" else torch.full_like(label, class_index(rule, self.dataset.class_names))

    def perturbations(self, group: int, probability: bool = False) -> Perturbations:
        """The perturbed images, with the classifier's probabilities when asked."""

        def make(_: BlackBox | None, inputs: tuple[Batch, Segments | None]) -> dict[str, Tensor]:
            made = self.sampler.perturb(*inputs, self.n_perturbations, self.streams)
            return {"image": made.image, **({"keep_mask": made.keep_mask} if made.keep_mask is not None else {})}

        shard = self.cache.get(
            Artefact(
                kind="perturbation",
                provenance=self.perturbation_science,
                group=group,
                inputs=lambda: (self.batch(group), self.segments(group) if self.sampler.uses_segments else None),
                make=make,
                keep=self.keeps_perturbations,
            )
        )
        perturbations = Perturbations(**{name: tensor.to(self.device) for name, tensor in shard.tensors.items()})
        if not probability:
            return perturbations
        answered = self.cache.get(
            Artefact(
                kind="prediction",
                provenance=self.prediction_science,
                group=group,
                make=lambda box, _: {"probability": box.probability(perturbations.image)},
            )
        )
        return Perturbations(
            perturbations.image, perturbations.keep_mask, answered.tensors["probability"].to(self.device)
        )

    def explanation(self, group: int) -> Explanation:
        def inputs() -> dict[str, Any]:
            uses = self.explainer.uses
            return {
                "batch": self.batch(group),
                "target": self.target(group),
                "segments": self.segments(group) if "segments" in uses else None,
                "perturbations": self.perturbations(group, probability=True) if "perturbations" in uses else None,
                **self.fitted(),
            }

        shard = self.cache.get(
            Artefact(
                kind="explanation",
                provenance=self.made_explanation_science,
                group=group,
                inputs=inputs,
                make=lambda box, given: self.explainer.explain(classifier=box, streams=self.streams, **given).tensors(),
                access=self.explainer.access,
            )
        )
        return self.explainer.shown(
            Explanation.of({name: tensor.to(self.device) for name, tensor in shard.tensors.items()})
        )

    def fitted(self) -> dict[str, Any]:
        """The explainer's statistics as an argument of `explain`; nothing for explainers without."""
        if not self.explainer.fitted:
            return {}
        training = self.dataset.at("train")
        parts: list[tuple[str, int]] = []

        def keep(
            arguments: frozenset[str], part: int, make: Made, wait: bool = True, **chosen: Any
        ) -> Mapping[str, Tensor] | None:
            parts.append((digest(self.part_science(arguments, **chosen)), part))
            return self.kept(arguments, part, make, wait, **chosen)

        shard = self.cache.get(
            Artefact(
                kind="reference",
                provenance=self.fit_science,
                inputs=lambda: self.explainer.prepare(training, self.kept),
                make=lambda box, _: self.explainer.fit(training, box, keep),
                access=self.explainer.access,
                of_images=False,
                about=lambda: {"parts": parts},
            )
        )
        return {"reference": {key: tensor.to(self.device) for key, tensor in shard.tensors.items()}}

    def kept(
        self, arguments: frozenset[str], part: int, make: Made, wait: bool = True, **chosen: Any
    ) -> Mapping[str, Tensor] | None:
        """A part of the explainer's statistics, stored by itself; None when it is not waited for and another process is
        making it.

        Not held in memory: all parts of a search at the paper's size have gigabytes.
        """
        shard = self.cache.get(
            Artefact(
                kind="part",
                provenance=self.part_science(arguments, **chosen),
                group=part,
                make=lambda *_: make(),
                of_images=False,
                hold=False,
                wait=wait,
            )
        )
        return shard and shard.tensors

    def reference(self, name: str) -> Mapping[str, Tensor]:
        """Training-set statistics of a metric; stored once for all jobs that share them."""
        metric = self.metrics[name]
        if not metric.fits:
            return {}
        training = self.dataset.at("train")
        shard = self.cache.get(
            Artefact(
                kind="reference",
                provenance=self.reference_science(name),
                make=lambda box, _: metric.fit(training, box, self.streams),
                access=access_of(metric),
                of_images=False,
            )
        )
        return {key: tensor.to(self.device) for key, tensor in shard.tensors.items()}

    def score(self, name: str, group: int) -> Shard | None:
        """One metric on one group of images; None when the metric's own image limit ends before the group."""
        metric = self.metrics[name]
        size = self.group_size(group, metric.n_images)
        if not size:
            return None

        def case() -> Case:
            needs = metric.needs
            with_probability = "classifier" in needs
            whole = {
                "batch": self.batch(group),
                "target": self.target(group),
                "segments": self.segments(group) if "segments" in needs else None,
                "perturbations": self.perturbations(group, with_probability) if "perturbations" in needs else None,
                "explanation": self.explanation(group) if "explanation" in needs else None,
            }
            several = tuple(s.explanation(group) for s in self.siblings(metric)) if "explanations" in needs else ()
            rows = slice(0, size)
            return Case(
                **{
                    key: value[rows] if isinstance(value, Tensor) else value and value.select(rows)
                    for key, value in whole.items()
                },
                explanations=tuple(explanation.select(rows) for explanation in several),
                reference=self.reference(name),
                streams=self.streams,
            )

        def make(box: BlackBox, case: Case) -> Mapping[str, Tensor]:
            again = partial(self.explain_again, group, slice(0, size), box) if "explain_again" in metric.needs else None
            return metric.score(replace(case, classifier=box, explain_again=again))

        return self.cache.get(
            Artefact(
                kind="metric",
                provenance=self.metric_science(name),
                group=group,
                inputs=case,
                make=make,
                access=access_of(metric),
                n_images=size,
            )
        )

    def explain_again(
        self,
        group: int,
        rows: slice,
        asked: BlackBox,
        images: Tensor | None = None,
        change: Callable[[nn.Module], None] | None = None,
    ) -> Explanation:
        """The explanations of some images of a group once more, not stored: for other images, or for a classifier that
        was changed.

        Args:
            asked: the metric's view, which counts the queries.
            images: [B,C,H,W] instead of the group's; change: alters a copy of the classifier's network.
        Random: the same numbers as the stored explanations.
        """
        uses, classifier, fit = self.explainer.uses, self.classifier, self.fitted()
        if change is not None:
            classifier = copy.deepcopy(classifier)
            change(classifier.network)
        box = view(classifier, self.explainer.access, self.batch_size, self.device)
        if change is not None and fit:
            key = classifier.digest()
            if key not in self._refits:
                self._refits[key] = self.explainer.fit(self.dataset.at("train"), box, self.kept)
            fit = {"reference": self._refits[key]}
        batch, target = self.batch(group).select(rows), self.target(group)[rows]
        segments = (
            self.segments(group).select(rows)
            if "segments" in uses or ("perturbations" in uses and self.sampler.uses_segments)
            else None
        )
        perturbations = self.perturbations(group).select(rows) if "perturbations" in uses and images is None else None
        if images is not None:
            batch = replace(batch, image=images)
            segments = self.segmenter.segment(images) if segments is not None else None
            perturbations = (
                self.sampler.perturb(batch, segments, self.n_perturbations, self.streams)
                if "perturbations" in uses
                else None
            )
        if perturbations is not None:
            perturbations = replace(perturbations, probability=box.probability(perturbations.image))
        segments = segments if "segments" in uses else None
        explanation = self.explainer.explain(batch, target, box, self.streams, segments, perturbations, **fit)
        asked.queries += box.queries
        return self.explainer.shown(explanation)

    def siblings(self, metric: Metric) -> list[Job]:
        """The jobs whose explanations of the same images a metric compares: this one with other config values."""
        jobs = []
        for changes in metric.overrides():
            key = digest(changes)
            if key not in self._siblings:
                self._siblings[key] = Job(override(self.config, changes), self.store, self.device)
                self._siblings[key].tell = self.tell
            jobs.append(self._siblings[key])
        return jobs

    @property
    def perturbation_bytes(self) -> int:
        """Size of the job's perturbations on disk: one byte per value."""
        channels, height, width = self.dataset.shape
        return self.n_asked * self.n_perturbations * channels * height * width

    @property
    def keeps_perturbations(self) -> bool:
        """Perturbations are kept when all of the job's fit under `keep_gb`; otherwise they are made again when
        needed."""
        return self.perturbation_bytes <= self.config["keep_gb"] * 1e9


def access_of(metric: Metric) -> str:
    """The view of the classifier that a metric is given."""
    return "white_box" if "white_box" in metric.needs else "black_box"
