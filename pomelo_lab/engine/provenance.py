"""The provenance of every artefact of a job: all that determines its numbers. Its digest is the artefact's fingerprint.

What changes no number is left out: batch sizes, devices and paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.selection import DRAW_SEED, Selection
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.metric.base import Metric


class Provenance:
    """What determines each artefact of a job, as plain JSON values.

    Args:
        parts: the job's components.
        selection: the job's images.
        siblings: the provenances of the jobs whose explanations a metric compares.
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
        """The data set, and which of its images the job is about (images=correct: the classifier decides)."""
        dataset = {**canonical(self.config["dataset"]), "digest": self.parts.dataset.digest()}
        if self.selection.draws:
            return {**dataset, "drawn": DRAW_SEED}
        return {**dataset, "correct": self.classifier} if self.selection.chooses else dataset

    @cached_property
    def training_data(self) -> dict[str, Any]:
        """The data set's training images, of which statistics are measured."""
        training = self.parts.dataset.at("train")
        return {**canonical(self.config["dataset"], ("split",)), "digest": training.digest()}

    @cached_property
    def classifier(self) -> dict[str, Any]:
        return {"digest": self.parts.classifier.digest()}

    @cached_property
    def generator(self) -> dict[str, Any] | None:
        return {"digest": self.parts.generator.digest()} if self.parts.generator is not None else None

    @cached_property
    def segmenter(self) -> dict[str, Any] | None:
        return self._component(self.parts.node("segmenter"))

    @cached_property
    def sampler(self) -> dict[str, Any] | None:
        return self._component(self.parts.node("sampler"))

    def _component(self, node: Mapping[str, Any] | None, drop: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """Canonical form of a component with everything that the job supplies to it.

        Args: drop: arguments that are left out.
        """
        if not node:
            return None
        supplied = {f"job.{role}": self._supplied(role) for role in self.parts.injected(node)}
        return {**canonical(node, drop), **supplied}

    def _supplied(self, role: str) -> Any:
        """The provenance of what `Components.supplied` gives for a role."""
        match role:
            case "dataset":
                return self.dataset
            case "classifier":
                return self.classifier
            case "generator":
                return self.generator
            case "segmenter":
                return self.segmenter
            case "sampler":
                return self.sampler
        raise ValueError(f"no component can ask for the job's {role}")

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
            "seed": self.config["seed"],
        }
        return {**perturbation, "segmenter": self.segmenter} if self.parts.sampler.uses_segments else perturbation

    @cached_property
    def prediction(self) -> dict[str, Any]:
        return {"perturbation": digest(self.perturbation), "classifier": self.classifier}

    @cached_property
    def explanation(self) -> dict[str, Any]:
        """What determines the explanation that metrics score: the stored one after its post-processing."""
        return self._explanation(())

    @cached_property
    def stored_explanation(self) -> dict[str, Any]:
        """What determines the explanation before its post-processing: the arguments of that are left out."""
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
            "seed": self.config["seed"],
        }
        if "segments" in needs:
            explanation["segmenter"] = self.segmenter
        if "perturbations" in needs:
            explanation["perturbation"] = digest(self.perturbation)
        return explanation

    def metric(self, name: str) -> dict[str, Any]:
        """What determines a score: its metric and what the metric looks at."""
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
            score["seed"] = self.config["seed"]
        if metric.fits:
            score["reference"] = digest(self.reference(name))
        return score

    def metric_arguments(self, name: str) -> dict[str, Any]:
        """The metric by itself; how many images it scores decides no score."""
        return self._component(self.parts.metric_nodes[name], ("n_images",))

    # --- statistics of training images ----------------------------------------------------------------------------

    def reference(self, name: str) -> dict[str, Any]:
        """What determines a metric's statistics of training images."""
        return {"metric": self.metric_arguments(name), "dataset": self.training_data, "classifier": self.classifier}

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """What determines the explainer's statistics of training images."""
        return {
            "explainer": self._fit_arguments(self.parts.explainer.fit_arguments),
            "dataset": self.training_data,
            "classifier": self.classifier,
        }

    def part(self, arguments: frozenset[str], **chosen: Any) -> dict[str, Any]:
        """What determines the parts of these statistics that are stored by themselves.

        They are measured on images alone, so they serve every label and every classifier.

        Args: arguments: of the explainer; chosen: values that the fit chose in place of configured ones.
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
        """Digest of what determines the whole job: the scores that it is asked for, over its images."""
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
        """Provenance of each stage that the job computes for every group of images, by kind of artefact."""
        stages = {"clean": self.clean}
        if self.parts.perturbs:
            stages |= {"perturbation": self.perturbation, "prediction": self.prediction}
        return stages | ({"explanation": self.stored_explanation} if self.parts.explains else {})
