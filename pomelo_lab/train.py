"""Train a classifier or a generator: `python -m pomelo_lab.train classifier=<name>|generator=<name> dataset=<name>`.

Interrupted at any moment, the same command continues; finished, it says so and does nothing (`force=true` trains again).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from pomelo_lab.config.check import ConfigError, resolved
from pomelo_lab.config.entry import CONF, command
from pomelo_lab.config.schema import CommonSchema

log = logging.getLogger(__name__)


@dataclass
class TrainSchema(CommonSchema):
    """Keys of `pomelo_lab.train`."""

    recipe: Any = MISSING


ConfigStore.instance().store(name="train_schema", node=TrainSchema)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def main(cfg: DictConfig) -> None:
    """The Hydra entry point of one training."""
    config = checked(cfg)
    role = trained_role(config)
    path = train_component(
        config[role], config["dataset"], config["recipe"], config["paths"]["outputs"], config["seed"], config["device"], config["force"]
    )
    print(f"use it with {role}.weights={path}\nresults: {path.parent}")


def trained_role(config: Mapping[str, Any]) -> str:
    """generator=<name> trains the generator, else the classifier is trained."""
    return "generator" if config.get("generator") else "classifier"


def checked(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config of a training. Raises ConfigError with every problem in one message, before anything is read."""
    from pomelo_lab.config.signature import locate, node_problems, parameters
    from pomelo_lab.dataset.base import Dataset
    from pomelo_lab.training.recipe import Recipe

    config = resolved(cfg)
    role = trained_role(config)
    found = [f"{key} is missing: choose one with {key}=<name>" for key in (role, "dataset", "recipe") if not config.get(key)]
    if not found:
        found += node_problems(config["dataset"], "dataset", Dataset) + node_problems(config["recipe"], "recipe", Recipe)
        found += node_problems(config[role], role, None, (Dataset,))
    if not found:
        target = locate(config[role]["_target_"])
        if not hasattr(target, "training_module") or "weights" not in parameters(target):
            found.append(f"{role}: {target.__name__} cannot be trained (it has no training_module)")
        dataset = locate(config["dataset"]["_target_"])
        if config[role].get("output") == "sigmoid" and "attributes" not in dataset.features(config["dataset"]):
            found.append(f"{role}.output=sigmoid learns attributes, dataset {dataset.__name__} has none")
    if config["seed"] < 0:
        found.append(f"seed must be >= 0, got {config['seed']}")
    if found:
        head = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigError(f"the config has {head}:\n" + "\n".join(f"  - {text}" for text in found))
    return config


def train_component(
    node: Mapping[str, Any],
    dataset_node: Mapping[str, Any],
    recipe_node: Mapping[str, Any] | None = None,
    outputs: str | Path = "outputs",
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
) -> Path:
    """Train what a node describes; also for use without Hydra. Needs a component with `weights` and `training_module(recipe, dataset)`.

    Two processes that ask for the same training do it once: the second waits for the first and uses its weights. A process that dies
    leaves a checkpoint, and the next one continues with the numbers an undisturbed training would have had.

    Args:
        node, dataset_node: resolved config nodes; the split of the data set does not matter, its train and val splits are used.
        recipe_node: None = the constructor defaults of Recipe, which are conf/recipe/default.yaml.
        seed: of image order and augmentation; initial weights have the component's own `init_seed`.
        force: train again what is finished.
    Returns: <outputs>/weights/<component>_<dataset>-<digest>/weights.safetensors, with card.json beside it.
    """
    from filelock import FileLock

    from pomelo_lab.classifier.weights import CARD, FILE, trains
    from pomelo_lab.config.fingerprint import canonical, digest
    from pomelo_lab.training.recipe import Recipe

    recipe_node = recipe_node or {"_target_": f"{Recipe.__module__}.Recipe"}
    science = {"trains": trains(node, dataset_node), "recipe": canonical(recipe_node), "seed": seed}
    name = f"{short_name(node)}_{short_name(dataset_node)}"
    folder = Path(outputs) / "weights" / f"{name}-{digest(science)}"
    path, card, last = folder / FILE, folder / CARD, folder / "last.ckpt"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    if not lock_at_once(lock):
        log.info("another process trains this: waiting for %s", folder)
        lock.acquire()
        force = False  # it is fresh
    try:
        if card.exists() and path.exists() and not force:
            log.info("already trained: %s (force=true trains it again)", path)
            return path
        for old in (card, last) if force else (card,):
            old.unlink(missing_ok=True)
        run_training(node, dataset_node, recipe_node, path, {"name": name, **science}, device)
        last.unlink(missing_ok=True)
    finally:
        lock.release()
    return path


def run_training(
    node: Mapping[str, Any],
    dataset_node: Mapping[str, Any],
    recipe_node: Mapping[str, Any],
    path: Path,
    about: Mapping[str, Any],
    device: str,
) -> dict[str, Any]:
    """Build, fit, save; returns the card."""
    from pomelo_lab.classifier.weights import save
    from pomelo_lab.config.build import build
    from pomelo_lab.devices import pick_device

    start, place, seed = time.monotonic(), pick_device(device), about["seed"]
    dataset, recipe = build(dataset_node), build(recipe_node)
    training, validation = dataset.at("train"), dataset.at("val")
    component = build({**node, "weights": None}, dataset=training, num_classes=num_outputs(node, training))
    log.info("training %s on %s, into %s", about["name"], place, path.parent)
    from pomelo_lab.training.feed import Feed  # Lightning takes seconds to import: only now
    from pomelo_lab.training.loop import fit

    memory = {"cache_gb": recipe.cache_gb, "n_workers": recipe.n_workers}
    feed = Feed(training, recipe.batch_size, seed, recipe.n_train, **memory)
    held_out = Feed(validation, max(recipe.batch_size, 256), seed, recipe.n_val, shuffle=False, **memory)
    module = fit(component.training_module(recipe, training).fed(feed, held_out, seed), path.parent, place)
    card = {
        **about,
        "component": dict(node),
        "dataset": dict(dataset_node),
        "recipe": dict(recipe_node),
        "dataset_digest": training.digest(),
        "n_train": feed.n,
        "steps": module.total_steps,
        "scores": module.report,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "device": str(place),
        "seconds": round(time.monotonic() - start, 1),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
    }
    return save(module.network, path, card)


def ensure_weights(node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path, device: str = "auto") -> dict[str, Any]:
    """A classifier node that can be built: `weights: auto` becomes a path, trained with the default recipe if there is none yet.

    `num_classes: null` becomes the number of attributes for sigmoid outputs (for softmax the job supplies the classes).
    Raises: ValueError when several earlier trainings fit.
    """
    from pomelo_lab.classifier.weights import resolve
    from pomelo_lab.config.build import build

    found = dict(node)
    if node.get("weights") == "auto":
        path = resolve(node, dataset_node, outputs)
        if path is None:
            log.warning("no weights for %s on %s yet: training them now, once", short_name(node), short_name(dataset_node))
            path = train_component(node, dataset_node, None, outputs, device=device)
        found["weights"] = str(path)
    if node.get("output") == "sigmoid" and node.get("num_classes") is None:
        found["num_classes"] = num_outputs(node, build(dataset_node))
    return found


def num_outputs(node: Mapping[str, Any], dataset: Any) -> int:
    """Attributes for sigmoid outputs, else classes. Raises ValueError when the data set has no attributes."""
    if node.get("output") != "sigmoid":
        return dataset.num_classes
    if not dataset.attribute_names:
        raise ValueError(f"classifier.output=sigmoid needs attributes, dataset {type(dataset).__name__} has none")
    return len(dataset.attribute_names)


def short_name(node: Mapping[str, Any]) -> str:
    """A component for folder names: its architecture, else its file."""
    return str(node.get("architecture") or node["_target_"].split(".")[-2])


def lock_at_once(lock: Any) -> bool:
    """Whether a lock could be taken without waiting."""
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def versions() -> dict[str, str]:
    """Of what made the numbers."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("pomelo_lab", "torch", "torchvision", "lightning"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "source" if name == "pomelo_lab" else "absent"
    return found


def cli() -> None:
    """The installed command `pomelo-lab-train`."""
    command(main, "train")


if __name__ == "__main__":
    sys.exit(cli())
