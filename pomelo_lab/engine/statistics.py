"""Statistics of training images for explainers and metrics. They are stored once, and jobs share them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.cache import Cache
from pomelo_lab.engine.provenance import Provenance
from pomelo_lab.explainer.fit_in_parts import FitInParts, PartCache, Thunk


class Statistics:
    """The statistics of training images that a job's explainer and metrics use.

    Args:
        provenance: the job's provenance.
        cache: the job's artefacts, to which the statistics belong.
        streams: the job's random streams.
    """

    def __init__(self, provenance: Provenance, cache: Cache, streams: RandomStreams) -> None:
        self.parts = provenance.parts
        self.provenance = provenance
        self.cache = cache
        self.streams = streams
        # digest of a changed classifier -> the explainer's statistics for it
        self.changed: dict[str, Mapping[str, Tensor]] = {}

    def metric(self, name: str) -> Mapping[str, Tensor]:
        """The statistics of a metric. Empty for metrics that use none."""
        metric = self.parts.metrics[name]
        if not metric.fits:
            return {}
        training = self.parts.dataset.at("train")
        return self._stored(
            Artefact(
                kind="reference",
                provenance=self.provenance.reference(name),
                make=lambda classifier, _: metric.fit(training, classifier, self.streams),
                access=metric.access,
                of_images=False,
            )
        )

    def explainer(self) -> Mapping[str, Tensor]:
        """The statistics of the explainer. Empty for explainers that use none."""
        explainer = self.parts.explainer
        if not explainer.fits:
            return {}
        parts: list[tuple[str, int]] = []

        def recorded_part(
            arguments: frozenset[str], part: int, thunk: Thunk, wait: bool = True, **chosen: Any
        ) -> Mapping[str, Tensor] | None:
            parts.append((digest(self.provenance.part(arguments, **chosen)), part))
            return self.part(arguments, part, thunk, wait, **chosen)

        return self._stored(
            Artefact(
                kind="reference",
                provenance=self.provenance.statistics,
                inputs=self.prepare_parts,
                make=lambda classifier, _: self._fit(classifier, recorded_part),
                access=explainer.access,
                of_images=False,
                about=lambda: {"parts": parts},
            )
        )

    def prepare_parts(self) -> None:
        """Computes the parts of the explainer's statistics that do not depend on the classifier, before a lock is taken
        under which `fit` reads them."""
        explainer = self.parts.explainer
        if isinstance(explainer, FitInParts):
            explainer.prepare(self.parts.dataset.at("train"), self.part)

    def of_changed(self, classifier_digest: str, classifier: BlackBox) -> Mapping[str, Tensor]:
        """The statistics of the explainer for a changed classifier. They are computed once per job and not stored.

        Args: classifier_digest: digest of the changed classifier; classifier: a view of it.
        """
        if not self.parts.explainer.fits:
            return {}
        if classifier_digest not in self.changed:
            self.changed[classifier_digest] = self._fit(classifier, self.part)
        return self.changed[classifier_digest]

    def part(
        self, arguments: frozenset[str], part: int, thunk: Thunk, wait: bool = True, **chosen: Any
    ) -> Mapping[str, Tensor] | None:
        """A part of the explainer's statistics, which is stored separately.

        `fit` may ask for parts under the lock of an artefact. This cannot end in a deadlock: the lock of a part is the
        last that a process takes, because the thunk computes the part from images and a generator alone.

        Parts are not held in memory, because all parts of a search at the paper's size need gigabytes.

        Args:
            arguments: the explainer's arguments that determine the part.
            part: the number of the part.
            thunk: computes the part.
            wait: False = return None while another process computes the part.
            chosen: values that `fit` chose in place of configured ones.
        """
        shard = self.cache.get(
            Artefact(
                kind="part",
                provenance=self.provenance.part(arguments, **chosen),
                group=part,
                make=lambda *_: thunk(),
                of_images=False,
                hold=False,
                wait=wait,
            )
        )
        return shard and shard.tensors

    def _fit(self, classifier: BlackBox, cached_part: PartCache) -> dict[str, Tensor]:
        """Computes the explainer's statistics for a view of a classifier."""
        explainer, training = self.parts.explainer, self.parts.dataset.at("train")
        if isinstance(explainer, FitInParts):
            return explainer.fit(training, classifier, cached_part)
        return explainer.fit(training, classifier)

    def _stored(self, artefact: Artefact) -> Mapping[str, Tensor]:
        return {key: tensor.to(self.parts.device) for key, tensor in self.cache.get(artefact).tensors.items()}
