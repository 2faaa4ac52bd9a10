"""The components that a configuration describes, each built at its first use.

Jobs of one process share a data set or network that they both name.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.classifier.network import output_index
from pomelo_lab.config.build import build
from pomelo_lab.config.fingerprint import digest, file_digest
from pomelo_lab.config.needs import asked_roles
from pomelo_lab.config.schema import RuntimeName
from pomelo_lab.config.signature import defaults, locate
from pomelo_lab.config.training_data import full_network_node
from pomelo_lab.config.tree import is_node, map_nodes, nodes
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.generator.base import Generator
from pomelo_lab.metric.base import Metric
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.segmenter.base import Segmenter
from pomelo_lab.throughput import FASTEST, BatchSize, fixed_size
from pomelo_lab.training.train import ensure_weights

# the data sets and networks that jobs of this process share: key -> (node, object); see `release`
_alive: dict[str, tuple[Mapping[str, Any], Any]] = {}
_later: list[list[Mapping[str, Any]]] = []  # the nodes of each later job of this process; see `release`
# roles whose component another component's constructor may take as an argument
SUPPLIED = ("dataset", "classifier", "generator", "segmenter", "sampler")
# arguments that a config may leave out, because the data set or the training determines them
FILLED = ("weights", "num_classes", "n_outputs", "column", "channels", "size_px")


class Components:
    """The components that a configuration names.

    Args:
        config: resolved plain mapping with the top-level keys of conf/run.yaml.
        device: the device of the networks.
    Cost: a network without weights is trained at its first use.
    """

    def __init__(self, config: Mapping[str, Any], device: torch.device | str = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)

    @cached_property
    def dataset(self) -> Dataset:
        return self._shared("dataset")

    @cached_property
    def classifier(self) -> Classifier:
        node = self._with_weights(self.config["classifier"])
        return self._shared("classifier", node, **self._facts).to(self.device)

    @property
    def _facts(self) -> dict[str, Any]:
        """What the data set tells a network that leaves it open."""
        return {"num_classes": self.dataset.num_classes, "image_shape": list(self.dataset.shape)}

    @property
    def target_names(self) -> Sequence[str]:
        """The names that `target` may give: those of the classifier's outputs, or else of the data set's classes."""
        return self.classifier.class_names or self.dataset.class_names

    @cached_property
    def generator(self) -> Generator | None:
        if not self.config.get("generator"):
            return None
        return self._with_networks(self._with_weights(self.config["generator"]))

    def _with_weights(self, node: Mapping[str, Any]) -> dict[str, Any]:
        trained = ensure_weights(
            full_network_node(node), self.config["dataset"], self.config["paths"]["outputs"], self.config["device"]
        )
        if node.get("column") is None:
            return trained
        column = output_index(node["column"], self.dataset.attribute_names)
        return {**node, "weights": trained["weights"], "column": column, "n_outputs": trained["num_classes"]}

    def node(self, role: str) -> Any:
        """The config of a role, in which all networks have their weights."""
        return self._with_weights_inside(self.config[role])

    def _with_weights_inside(self, tree: Any) -> Any:
        """A config in which every network has its weights, for example the generator inside a metric's filler."""
        return map_nodes(tree, lambda node: self._with_weights_and_classes(node) if is_network(node) else node)

    def _with_weights_and_classes(self, node: Mapping[str, Any]) -> dict[str, Any]:
        trained = self._with_weights(node)
        # num_classes is unset when it is None, or left out with the default None
        unset = {**defaults(locate(node["_target_"])), **trained}.get("num_classes", 0) is None
        return {**trained, "num_classes": self.dataset.num_classes} if unset else trained

    def _with_networks(self, tree: Any) -> Any:
        """A config in which every network's node is replaced by the built network."""
        return map_nodes(tree, lambda node: self._network(node) if is_network(node) else node)

    def _network(self, node: Mapping[str, Any]) -> Any:
        return self._shared("network", node, batch_size=self.batch_size, **self._facts).to(self.device)

    @cached_property
    def segmenter(self) -> Segmenter:
        return build(self.config["segmenter"])

    @cached_property
    def sampler(self) -> Sampler | None:
        if not self.config.get("sampler"):
            return None
        return build(self._with_networks(self.node("sampler")), **self._arguments_for(self.config["sampler"]))

    @cached_property
    def explainer(self) -> Explainer | None:
        return build(self._with_networks(self.node("explainer")), **self._arguments_for(self.config["explainer"]))

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        return {
            name: build(self._with_networks(node), **self._arguments_for(node))
            for name, node in self.metric_nodes.items()
        }

    @cached_property
    def metric_nodes(self) -> dict[str, Any]:
        return {name: self._with_weights_inside(node) for name, node in self.config["metrics"].items() if node}

    def _shared(self, role: str, node: Mapping[str, Any] | None = None, **supplied: Any) -> Any:
        node = self.config[role] if node is None else node
        path = node.get("weights")  # the digest notices a file that is overwritten while the process runs
        weights = file_digest(path) if path and Path(path).exists() else None
        source = getattr(locate(node["_target_"]), "source", None)  # the code of a user's function may change as well
        key = digest(
            {
                "node": node,
                "weights": weights,
                "source": source and source(node),
                "supplied": supplied,
                "device": str(self.device),
            }
        )
        if key not in _alive:
            _alive[key] = node, build(node, **supplied)
        built = _alive[key][1]
        return built.use_runtime(self.runtime) if isinstance(built, TrainableNetwork) else built

    def _arguments_for(self, node: Mapping[str, Any]) -> dict[str, Any]:
        return {role: supply(self, role) for role in self.find_injected_roles(node)}

    def find_injected_roles(self, node: Mapping[str, Any]) -> list[str]:
        """The roles of the job that a component, or a component inside it, takes as an argument and has no yaml for."""
        asked = (asked_roles(part) for _, part in nodes(node))
        return sorted(set().union(*asked) & set(self.config))

    @property
    def explains(self) -> bool:
        """Whether the job makes explanations. With explainer=none it scores perturbations instead."""
        return self.explainer is not None and self.explainer.explains

    @property
    def perturbs(self) -> bool:
        """Whether the explainer or, when there are no explanations, a metric uses perturbations."""
        read = self.explains or any("perturbations" in metric.needs for metric in self.metrics.values())
        return read and "perturbations" in self.explainer.needs

    @property
    def n_perturbations(self) -> int:
        """The number of perturbations of each image; 0 when none are used."""
        return self.explainer.n_samples if self.perturbs else 0

    @property
    def runtime(self) -> RuntimeName:
        """The runtime of networks where no gradients are asked for; the networks themselves in a deterministic job."""
        return "eager" if self.config.get("deterministic") else self.config.get("runtime", "eager")

    @property
    def batch_size(self) -> BatchSize:
        """Images in one forward pass. "auto" = the fastest number, or a fixed one in a deterministic job."""
        fastest = fixed_size(self.device) if self.config.get("deterministic") else FASTEST
        return fastest if self.config["batch_size"] in (None, FASTEST) else self.config["batch_size"]


def release(later: Iterable[Mapping[str, Any]]) -> None:
    """Frees the data sets and networks that no later job names, so that a grid over many networks needs less memory.

    Args: later: resolved configs of the jobs that this process will still run.
    """
    _later[:] = [[node for _, node in nodes(config)] for config in later]
    named = [node for job in _later for node in job]
    for key in [key for key, (node, _) in _alive.items() if not any(describes(asked, node) for asked in named)]:
        del _alive[key]
    gc.collect()  # a job and its provenance refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def count_later(network: Any) -> int:
    """The number of later jobs of this process that name a network. 0 before the first job of a grid has ended."""
    built = next((node for node, known in _alive.values() if known is network), None)
    return sum(any(describes(asked, built) for asked in job) for job in _later) if built else 0


def describes(asked: Mapping[str, Any], built: Mapping[str, Any]) -> bool:
    """Whether an object that was built from one node can serve another node, whose weights may be "auto"."""
    same = all(asked.get(key) == built.get(key) for key in {*asked, *built} - {*FILLED})
    return same and (asked.get("weights") == built.get("weights") or not Path(str(asked.get("weights"))).exists())


def is_network(node: Any) -> bool:
    """Whether a value of a config is the node of a trainable network."""
    target = locate(node["_target_"]) if is_node(node) else None
    return isinstance(target, type) and issubclass(target, TrainableNetwork)


def supply(parts: Any, role: str) -> Any:
    """What a component's constructor gets where it takes another component of the job as an argument.

    Args:
        parts: has an attribute per role of a job: the components, or their provenance.
        role: the name of the argument, which is the role.
    """
    if role not in SUPPLIED:
        raise ValueError(f"no component can ask for the job's {role}; it can ask for {', '.join(SUPPLIED)}")
    return getattr(parts, role)
