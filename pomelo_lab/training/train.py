"""Trains components, each once per data set, recipe and seed: by command, or on first use when weights are missing."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pomelo_lab.config.build import build
from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.config.signature import locate, parameters
from pomelo_lab.config.training_data import full_network_node, learns_labels, training_data
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.devices import launch, pick_device
from pomelo_lab.files import Damaged, read_json, sweep
from pomelo_lab.locks import locked
from pomelo_lab.training import recipe as recipes
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.record import CHECKPOINT, drop_damaged, mend_log
from pomelo_lab.training.trained import resolve, training_digest, training_key
from pomelo_lab.weights import CARD, FILE, SHIPPED, check_file, save, zoo_path

if TYPE_CHECKING:
    from pomelo_lab.network import TrainableNetwork
    from pomelo_lab.training.module import Training

log = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """Options of a training.

    seed: of image order and augmentation, by default 0. Initial weights depend on the component's `init_seed` instead.
    device: auto, cpu, cuda, ...; by default auto.
    force: train again although the training is finished.
    devices: number of processes that train together, each on its share of every batch (Lightning's ddp). It is not
        part of the fingerprint.
    """

    seed: int
    device: str
    force: bool
    devices: int


def train_component(
    node: Mapping[str, Any],
    dataset_node: Mapping[str, Any],
    recipe_node: Mapping[str, Any] | None = None,
    outputs: str | Path = "outputs",
    **options: Unpack[Options],
) -> Path:
    """Trains a component on a data set. It needs no Hydra.

    The class of the component must name its `training`. When the component is a classifier of one output (`column`),
    the network of all outputs is trained.

    When two processes start the same training, the second waits for the first and uses its weights. A process that dies
    leaves a checkpoint. The next process continues from it, with the numbers of an uninterrupted training.

    Args:
        node, dataset_node: resolved config nodes. The train and val splits of the data set are used, whatever split
            its node names.
        recipe_node: None = the recipe that the component names, conf/recipe/<its `recipe`>.yaml.
        options: see `Options`.
    Returns: <outputs>/weights/<component>_<dataset>-<digest>/weights.safetensors. The same folder contains card.json.
    """
    node, dataset_node = full_network_node(node), training_data(node, dataset_node)
    recipe_node = recipe_node or recipes.own_recipe(node)
    recipe = canonical(Recipe.identity(recipe_node))
    provenance = {"trains": training_key(node, dataset_node), "recipe": recipe, "seed": options.get("seed", 0)}
    if locate(dataset_node["_target_"]).reads_files():  # built-in data are determined by their settings
        provenance["data"] = training_digest(node, dataset_node)
    name = f"{short_name(node)}_{short_name(dataset_node)}"
    folder = Path(outputs) / "weights" / f"{name}-{digest(provenance)}"
    path, card, last = folder / FILE, folder / CARD, folder / CHECKPOINT
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock") as waited:
        sweep(folder)
        force = options.get("force", False) and not waited  # weights of the process that it waited for are new
        if not force and is_trained(folder):
            log.info("already trained: %s (force=true trains it again)", path)
            return path
        for old in (card, last) if force else (card,):
            old.unlink(missing_ok=True)
        drop_damaged(folder)
        about = {"name": name, **provenance}
        task = {"node": node, "dataset": dataset_node, "recipe": recipe_node, "path": str(path), "about": about}
        machine = {"devices": options.get("devices", 1), "device": options.get("device", "auto")}
        launch({**machine, "task": task}, run_training)
        last.unlink(missing_ok=True)
    return path


def is_trained(folder: Path) -> bool:
    """Whether a folder contains undamaged weights and card of a finished training.

    A warning names a damaged file. A damaged or missing log.jsonl is written again from the card.
    """
    try:
        card = read_json(folder / CARD)
        check_file(folder / FILE, card)
    except FileNotFoundError:
        return False
    except Damaged as error:
        log.warning("%s: trained again", error)
        return False
    mend_log(folder, card.get("log"))
    return True


def run_training(config: Mapping[str, Any], device: str, rank: int, world: int) -> None:
    """Builds, trains and saves a component, in one of several processes that train together.

    Args:
        rank: the number of this process. Process 0 writes the log and the weights.
        world: the number of processes.
    """
    task, start, torch_device = config["task"], time.monotonic(), pick_device(device)
    node, about, path = task["node"], task["about"], Path(task["path"])
    dataset, recipe = build(task["dataset"]), build(task["recipe"])
    training, validation = dataset.at("train"), dataset.at("val")
    check_data(training, validation, learns_labels(node))
    plain = {"weights": None, **({"precision": "float32"} if "precision" in node else {})}
    component = build({**node, **plain}, **arguments_from_data(node, training))
    if hasattr(component, "check_shape"):
        component.check_shape(training.shape)
    if rank == 0:
        where = torch_device if world == 1 else f"{world} x {torch_device.type}"
        log.info("training %s on %s in %s, into %s", about["name"], where, recipe.arithmetic(torch_device), path.parent)
    from pomelo_lab.training.batch_source import BatchSource  # Lightning takes seconds to import: only now
    from pomelo_lab.training.loop import fit

    memory = {"cache_gb": recipe.cache_gb, "n_workers": recipe.n_workers}
    seed, n_scored = about["seed"], max(recipe.batch_size, 256)
    source = BatchSource(training, recipe.batch_size, seed, recipe.n_train, **memory)
    held_out = BatchSource(validation, n_scored, seed, recipe.n_val, shuffle=False, **memory)
    learner = training_of(component, recipe, training).attach(source, held_out, seed)
    if rank == 0:
        log.info("%d steps of %d images, of %d", learner.last_step, source.batch_size, source.n)
    module = fit(learner, path.parent, torch_device, world, component.stored)
    if rank:
        return
    card = {
        **about,
        "component": dict(node),
        "dataset": dict(task["dataset"]),
        "recipe": dict(task["recipe"]),
        "dataset_digest": training_digest(node, task["dataset"]),
        "n_train": source.n,
        "steps": module.last_step,
        "precision": recipe.arithmetic(torch_device),
        "scores": module.report,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "device": torch_device.type if world == 1 else f"{world} x {torch_device.type}",
        "seconds": round(time.monotonic() - start, 1),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "log": module.rows,
    }
    if measured := component.training_statistics():
        card["measured"] = {name: tensor.tolist() for name, tensor in measured.items()}
    save(module.network, path, card, component.stored, measured)


def training_of(component: TrainableNetwork, recipe: Recipe, dataset: Any) -> Training:
    """Builds the Lightning module that a component names as its `training`, with a recipe and training images."""
    return locate(component.training)(component, recipe, dataset)


def check_data(training: Any, validation: Any, labelled: bool) -> None:
    """Checks the images of a training before it starts.

    Warnings name the classes without training images, and a validation split without images.

    Args: labelled: whether the training uses class labels.
    Raises: ValueError when there are fewer than two training images.
    """
    if len(training) < 2:
        text = f"the split train of {type(training).__name__} has {len(training)} image, training needs two at least"
        raise ValueError(f"{text} (a batch of one has no statistics), and some tens per class to learn anything")
    if labelled and type(training).labels is not Dataset.labels:  # the labels are known without reading images
        counts = training.labels(range(len(training))).clamp_min(0).bincount(minlength=training.num_classes).tolist()
        if absent := [name for name, count in zip(training.class_names, counts, strict=False) if not count]:
            log.warning(
                "no image of the split train is of the class %s: the classifier cannot learn it", ", ".join(absent)
            )
    if not len(validation):
        log.warning("the split val has no image: nothing is known of what is learnt")


def ensure_weights(
    node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path, device: str = "auto"
) -> dict[str, Any]:
    """Completes the config node of a classifier or generator, so that the component can be built.

    `weights: auto` is replaced by the path of fitting weights. If there are none, the component is trained first, with
    the recipe that it names. Arguments that follow from the data set are filled in: the number of outputs of a sigmoid
    classifier, and the shape of generated images.

    Raises: ValueError when the weights of several earlier trainings fit.
    """
    filled, dataset_node = dict(node), training_data(node, dataset_node)
    if str(node.get("weights")).startswith(SHIPPED):
        filled["weights"] = str(zoo_path(node["weights"]))
    if node.get("weights") == "auto":
        path = resolve(node, dataset_node, outputs)
        if path is None:
            log.warning(
                "no weights for %s on %s yet: training them now, once", short_name(node), short_name(dataset_node)
            )
            path = train_component(node, dataset_node, None, outputs, device=device)
        filled["weights"] = str(path)
    open_keys = [key for key in ("channels", "size_px") if node.get(key, 0) is None]
    if (
        node.get("output") == "sigmoid"
        and node.get("num_classes") is None
        and "num_classes" in parameters(locate(node["_target_"]))
    ):
        open_keys.append("num_classes")
    if open_keys:
        known = arguments_from_data(node, build(dataset_node))
        filled |= {key: known[key] for key in open_keys}
    return filled


def arguments_from_data(node: Mapping[str, Any], dataset: Any) -> dict[str, Any]:
    """The arguments of a network that its data set determines: the number of outputs and the shape of the images."""
    channels, height, width = dataset.shape
    if "size_px" in node and height != width:
        raise ValueError(
            f"generator: images must be square, dataset {type(dataset).__name__} has {height}x{width} pixels"
        )
    return {
        "dataset": dataset,
        "num_classes": num_outputs(node, dataset),
        "channels": channels,
        "size_px": height,
        "image_shape": list(dataset.shape),
    }


def num_outputs(node: Mapping[str, Any], dataset: Any) -> int:
    """The number of a network's outputs: the number of attributes for sigmoid outputs, else the number of classes.

    Raises: ValueError for sigmoid outputs on a data set without attributes.
    """
    if node.get("output") != "sigmoid":
        return dataset.num_classes
    if not dataset.attribute_names:
        raise ValueError(f"classifier.output=sigmoid needs attributes, dataset {type(dataset).__name__} has none")
    return len(dataset.attribute_names)


def short_name(node: Mapping[str, Any]) -> str:
    """The name of a component in folder names: its architecture, or else the name of its Python file."""
    return str(node.get("architecture") or node["_target_"].split(".")[-2])


def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the libraries that a training uses."""
    from importlib.metadata import PackageNotFoundError, version

    version_of = {"python": sys.version.split()[0]}
    for name in ("pomelo_lab", "torch", "torchvision", "lightning"):
        try:
            version_of[name] = version(name)
        except PackageNotFoundError:
            version_of[name] = "source" if name == "pomelo_lab" else "absent"
    return version_of
