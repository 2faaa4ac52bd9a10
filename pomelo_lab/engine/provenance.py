"""What determines what: the fingerprint of every artefact of a job, written down here, once, per stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.engine.components import Components
from pomelo_lab.metric.base import Metric

DRAW_SEED = 5  # of images=drawn: that of DiME's mini-validation set


class Sciences(Components, ABC):
    """The canonical forms of a configuration's parts, from which fingerprints are taken.

    Science is what changes numbers; batch sizes, devices and places do not.
    """

    def _science(self, role: str) -> Any:
        """Canonical form of a component with everything the job injects into it."""
        node = self.node(role)
        return self._science_of(node) if node else None

    def _science_of(self, node: Mapping[str, Any], drop: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            **canonical(node, drop),
            **{f"job.{role}": getattr(self, f"{role}_science") for role in self.injected(node)},
        }

    @cached_property
    def dataset_science(self) -> dict[str, Any]:
        """Which images: those of the data set, (images=correct) those of them that the classifier gets right, or
        (images=drawn) draws of them."""
        science = {**canonical(self.config["dataset"]), "digest": self.dataset.digest()}
        if self.draws:
            return {**science, "drawn": DRAW_SEED}
        return {**science, "correct": self.classifier_science} if self.chooses else science

    @cached_property
    def classifier_science(self) -> dict[str, Any]:
        return {"digest": self.classifier.digest()}

    @cached_property
    def generator_science(self) -> dict[str, Any] | None:
        return {"digest": self.generator.digest()} if self.generator is not None else None

    @cached_property
    def segmenter_science(self) -> Any:
        return self._science("segmenter")

    @cached_property
    def sampler_science(self) -> dict[str, Any]:
        return self._science("sampler")

    @cached_property
    def perturbation_science(self) -> dict[str, Any]:
        science = {
            "dataset": self.dataset_science,
            "sampler": self.sampler_science,
            "n": self.n_perturbations,
            "seed": self.config["seed"],
        }
        return {**science, "segmenter": self.segmenter_science} if self.sampler.uses_segments else science

    @cached_property
    def prediction_science(self) -> dict[str, Any]:
        return {"perturbation": digest(self.perturbation_science), "classifier": self.classifier_science}

    @cached_property
    def clean_science(self) -> dict[str, Any]:
        return {"dataset": self.dataset_science, "classifier": self.classifier_science}

    @cached_property
    def explanation_science(self) -> dict[str, Any]:
        science = {
            "dataset": self.dataset_science,
            "classifier": self.classifier_science,
            "explainer": self._science("explainer"),
            "target": self.config["target"],
            "seed": self.config["seed"],
        }
        if "segments" in self.explainer.uses:
            science["segmenter"] = self.segmenter_science
        if "perturbations" in self.explainer.uses:
            science["perturbation"] = digest(self.perturbation_science)
        return science

    @cached_property
    def made_explanation_science(self) -> dict[str, Any]:
        """What determines the stored explanation: all but what only says how it is presented."""
        science, presents = self.explanation_science, tuple(self.explainer.presents)
        return {**science, "explainer": self._science_of(self.node("explainer"), presents)} if presents else science

    @cached_property
    def fit_science(self) -> dict[str, Any]:
        """What determines the statistics that an explainer measures on training images."""
        return {
            "explainer": self._fitted_science(self.explainer.fitted),
            "dataset": self.training_science,
            "classifier": self.classifier_science,
        }

    def part_science(self, arguments: frozenset[str], **chosen: Any) -> dict[str, Any]:
        """What determines the stored parts of that measurement: made of images alone, they serve every label and every
        classifier."""
        node, training = self.config["dataset"], self.dataset.at("train")
        images = {
            **canonical(node, ("split", *type(training).label_arguments(node))),
            "digest": training.image_digest(),
        }
        return {"part_of": {**self._fitted_science(arguments), **chosen}, "dataset": images}

    def _fitted_science(self, arguments: frozenset[str]) -> dict[str, Any]:
        """Some arguments of the explainer, under the name of the class whose `fit` it has: explainers that share it
        share what it measured."""
        node = self.node("explainer")
        owner = next(c for c in type(self.explainer).__mro__ if "fit" in vars(c))
        science = self._science_of(node, tuple(set(canonical(node)) - {"_target_", "revision"} - arguments))
        return {**science, "_target_": f"{owner.__module__}.{owner.__qualname__}"}

    @cached_property
    def training_science(self) -> dict[str, Any]:
        return {**canonical(self.config["dataset"], ("split",)), "digest": self.dataset.at("train").digest()}

    def fitted_metric_science(self, name: str) -> dict[str, Any]:
        """What determines a metric's statistics of training images, for the job's data set and classifier."""
        return self._science_of(self.metric_nodes[name], ("n_images",))

    def reference_science(self, name: str) -> dict[str, Any]:
        return {
            "metric": self.fitted_metric_science(name),
            "dataset": self.training_science,
            "classifier": self.classifier_science,
        }

    def metric_science(self, name: str) -> dict[str, Any]:
        """A score is determined by its metric and by what the metric looks at."""
        metric = self.metrics[name]
        science = {"metric": self._science_of(self.metric_nodes[name], ("n_images",)), "dataset": self.dataset_science}
        if {"classifier", "white_box"} & metric.needs:
            science |= {"classifier": self.classifier_science, "target": self.config["target"]}
        if "segments" in metric.needs:
            science["segmenter"] = self.segmenter_science
        if "perturbations" in metric.needs:
            science["perturbation"] = digest(self.perturbation_science)
        if "explanation" in metric.needs:
            science["explanation"] = digest(self.explanation_science)
        if "explanations" in metric.needs:
            science["explanations"] = [digest(s.explanation_science) for s in self.siblings(metric)]
        if not {"perturbations", "explanation", "explanations"} & metric.needs or metric.random:
            science["seed"] = self.config["seed"]
        if metric.fits:
            science["reference"] = digest(self.reference_science(name))
        return science

    @cached_property
    def science(self) -> dict[str, Any]:
        """What determines the whole job: the scores asked for, over its images."""
        return {
            "n_images": self.n_asked,
            "metrics": {
                name: [digest(self.metric_science(name)), metric.n_images] for name, metric in self.metrics.items()
            },
            "explanation": digest(self.explanation_science) if self.explains else None,
            "perturbation": digest(self.perturbation_science) if self.perturbs else None,
        }

    @cached_property
    def fingerprint(self) -> str:
        return digest(self.science)

    # --- what the job does ----------------------------------------------------------------------------------------

    @cached_property
    def n_asked(self) -> int:
        """Images of the job, if the classifier gets enough of them right where it matters (`Job.n_images`)."""
        return self.config["n_images"] if self.draws else min(self.config["n_images"], len(self.dataset))

    @property
    def draws(self) -> bool:
        """Whether the job's images are drawn with replacement."""
        return self.config.get("images", "all") == "drawn"

    @property
    def chooses(self) -> bool:
        """Whether the job is only about images that the classifier gets right."""
        return self.config.get("images", "all") == "correct"

    @property
    def explains(self) -> bool:
        """Whether the job makes explanations; explainer=none scores samplers."""
        return self.explainer is not None and type(self.explainer).__name__ != "NoExplainer"

    @property
    def perturbs(self) -> bool:
        """Whether anything looks at perturbations."""
        asked = self.explains or any("perturbations" in metric.needs for metric in self.metrics.values())
        return asked and "perturbations" in self.explainer.uses

    @property
    def n_perturbations(self) -> int:
        return self.explainer.n_samples if self.perturbs else 0

    @abstractmethod
    def siblings(self, metric: Metric) -> Sequence[Sciences]:
        """The jobs whose explanations of the same images a metric compares."""
