"""The provenance of each artefact of a job: all settings and data that determine its numbers.

The digest of the provenance is the fingerprint of the artefact. Batch sizes, devices and paths are left out, because
they change no number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.engine.components import Components, supply
from pomelo_lab.engine.selection import DRAW_SEED, Selection
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.metric.base import Metric


class Provenance:
    """The provenance of each artefact of a job, as plain JSON values.

    Args:
        parts: the job's components.
        selection: the job's images.
        siblings: returns the provenances of the jobs whose explanations a metric compares.
    """

    def __init__(
        self, parts: Components, selection: Selection, siblings: Callable[[Metric], Sequence[Provenance]]
    ) -> None:
        self.parts = parts
        self.selection = selection
        self.siblings = siblings
        self.config = parts.config

    # --- components -----------------------------------------------------------------------------------------------

    @cached_property
    def dataset(self) -> dict[str, Any]:
        """The data set and the rule that selects images. With images=correct, the rule includes the classifier."""
        dataset = {**canonical(self.config["dataset"]), "digest": self.parts.dataset.digest()}
        if self.selection.draws:
            return {**dataset, "drawn": DRAW_SEED}
        return {**dataset, "correct": self.classifier} if self.selection.chooses else dataset

    @cached_property
    def training_data(self) -> dict[str, Any]:
        """The training images, from which statistics are computed."""
        training = self.parts.dataset.at("train")
        return {**canonical(self.config["dataset"], ("split",)), "digest": training.digest()}

    @cached_property
    def classifier(self) -> dict[str, Any]:
        return {"digest": self.parts.classifier.digest()}

    @cached_property
    def generator(self) -> dict[str, Any] | None:
        return {"digest": self.parts.generator.digest()} if self.parts.generator is not None else None

    @property
    def seed(self) -> dict[str, int]:
        """The job's seed, and which numbers random streams draw from it."""
        return {"seed": self.config["seed"], "streams": RandomStreams.revision}

    @cached_property
    def segmenter(self) -> dict[str, Any] | None:
        return self._component(self.parts.node("segmenter"))

    @cached_property
    def sampler(self) -> dict[str, Any] | None:
        return self._component(self.parts.node("sampler"))

    def _component(self, node: Mapping[str, Any] | None, drop: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """The canonical form of a component, with the provenance of the job's components that it receives.

        Args: drop: arguments that are left out.
        """
        if not node:
            return None
        roles = self.parts.find_injected_roles(node)
        return {**canonical(node, drop), **{f"job.{role}": supply(self, role) for role in roles}}

    # --- stages ---------------------------------------------------------------------------------------------------

    @cached_property
    def clean(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "classifier": self.classifier}

    @cached_property
    def perturbation(self) -> dict[str, Any]:
        perturbation = {
            "dataset": self.dataset,
            "sampler": self.sampler,
            "n": self.parts.n_perturbations,
            "seed": self.seed,
        }
        return {**perturbation, "segmenter": self.segmenter} if self.parts.sampler.uses_segments else perturbation

    @cached_property
    def prediction(self) -> dict[str, Any]:
        return {"perturbation": digest(self.perturbation), "classifier": self.classifier}

    @cached_property
    def explanation(self) -> dict[str, Any]:
        """The provenance of the explanation that metrics score: the stored explanation after its post-processing."""
        return self._explanation(())

    @cached_property
    def stored_explanation(self) -> dict[str, Any]:
        """The provenance of the stored explanation, without the arguments of its post-processing."""
        explainer = self.parts.explainer
        arguments = explainer.postprocess_arguments if isinstance(explainer, Postprocessed) else ()
        return self._explanation(tuple(arguments))

    def _explanation(self, drop: tuple[str, ...]) -> dict[str, Any]:
        needs = self.parts.explainer.needs
        explanation = {
            "dataset": self.dataset,
            "classifier": self.classifier,
            "explainer": self._component(self.parts.node("explainer"), drop),
            "target": self.config["target"],
            "seed": self.seed,
        }
        if "segments" in needs:
            explanation["segmenter"] = self.segmenter
        if "perturbations" in needs:
            explanation["perturbation"] = digest(self.perturbation)
        return explanation

    def metric(self, name: str) -> dict[str, Any]:
        """The provenance of a score: the metric and its inputs."""
        metric = self.parts.metrics[name]
        score = {"metric": self.metric_arguments(name), "dataset": self.dataset}
        if {"classifier", "white_box"} & metric.needs:
            score |= {"classifier": self.classifier, "target": self.config["target"]}
        if "segments" in metric.needs:
            score["segmenter"] = self.segmenter
        if "perturbations" in metric.needs:
            score["perturbation"] = digest(self.perturbation)
        if "explanation" in metric.needs:
            score["explanation"] = digest(self.explanation)
        if "explanations" in metric.needs:
            score["explanations"] = [digest(sibling.explanation) for sibling in self.siblings(metric)]
        if not {"perturbations", "explanation", "explanations"} & metric.needs or metric.random:
            score["seed"] = self.seed
        if metric.fits:
            score["reference"] = digest(self.reference(name))
        return score

    def metric_arguments(self, name: str) -> dict[str, Any]:
        """The provenance of a metric without its inputs. `n_images` is left out, because it changes no score."""
        return self._component(self.parts.metric_nodes[name], ("n_images",))

    # --- statistics of training images ----------------------------------------------------------------------------

    def reference(self, name: str) -> dict[str, Any]:
        """The provenance of a metric's statistics of training images."""
        return {"metric": self.metric_arguments(name), "dataset": self.training_data, "classifier": self.classifier}

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """The provenance of the explainer's statistics of training images."""
        return {
            "explainer": self._fit_arguments(self.parts.explainer.fit_arguments),
            "dataset": self.training_data,
            "classifier": self.classifier,
        }

    def part(self, arguments: frozenset[str], **chosen: Any) -> dict[str, Any]:
        """The provenance of a part of the explainer's statistics, which is stored separately.

        A part is computed from images alone. It therefore depends neither on labels nor on the classifier.

        Args:
            arguments: the explainer's arguments that determine the part.
            chosen: values that `fit` chose in place of configured ones.
        """
        node, training = self.config["dataset"], self.parts.dataset.at("train")
        images = {
            **canonical(node, ("split", *type(training).label_arguments(node))),
            "digest": training.image_digest(),
        }
        return {"part_of": {**self._fit_arguments(arguments), **chosen}, "dataset": images}

    def _fit_arguments(self, arguments: frozenset[str] | None) -> dict[str, Any]:
        """The listed arguments of the explainer (None = all) and the class that defines its `fit`.

        Explainers that inherit `fit` therefore share its statistics.
        """
        node = self.parts.node("explainer")
        owner = next(kind for kind in type(self.parts.explainer).__mro__ if "fit" in vars(kind))
        known = set(canonical(node)) - {"_target_", "revision"}
        others = () if arguments is None else tuple(known - arguments)
        return {**self._component(node, others), "_target_": f"{owner.__module__}.{owner.__qualname__}"}

    # --- the whole job --------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the whole job: the digest of its scores, explanations, perturbations and image number."""
        scores = {name: [digest(self.metric(name)), metric.n_images] for name, metric in self.parts.metrics.items()}
        return digest(
            {
                "n_images": self.selection.n_asked,
                "metrics": scores,
                "explanation": digest(self.explanation) if self.parts.explains else None,
                "perturbation": digest(self.perturbation) if self.parts.perturbs else None,
            }
        )

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The provenance of each stage that the job computes for a group of images, by kind of artefact."""
        stages = {"clean": self.clean}
        if self.parts.perturbs:
            stages |= {"perturbation": self.perturbation, "prediction": self.prediction}
        return stages | ({"explanation": self.stored_explanation} if self.parts.explains else {})
