"""Searches for trained weights of a component and a data set, in the shipped zoo and among earlier trainings."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pomelo_lab import weights
from pomelo_lab.config.describe import REMOVED
from pomelo_lab.config.fingerprint import canonical, digest
from pomelo_lab.config.signature import defaults, locate, role_of
from pomelo_lab.config.training_data import full_network_node, learns_labels, training_data
from pomelo_lab.config.tree import map_nodes
from pomelo_lab.dataset.base import Dataset, build_cached
from pomelo_lab.files import Damaged, read_json
from pomelo_lab.training import recipe as recipes
from pomelo_lab.weights import CARD, FILE, RESTORE, check_file

log = logging.getLogger(__name__)


class Trained(NamedTuple):
    """A weights file with its card, which describes its training."""

    path: Path
    card: Mapping[str, Any]

    @property
    def in_zoo(self) -> bool:
        """Whether the weights are shipped with the package."""
        return self.path.parent == weights.ZOO


def has_weights(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path) -> bool:
    """Whether a component can be built without a training."""
    return component_node.get("weights") != "auto" or resolve(component_node, dataset_node, outputs) is not None


def resolve(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path) -> Path | None:
    """The weights file that `weights: auto` stands for.

    Shipped weights are used first, then weights of an earlier training below `outputs`. The result is None when no
    weights fit. Earlier weights do not fit when they are damaged, or were trained by another recipe. Weights that were
    trained on other images do not fit either. Warnings name weights that are not used. Shipped weights fit any recipe.
    Weights of a full recipe fit its shortened version too.

    Raises: ValueError when several trainings fit, for example with different seeds. ValueError when shipped weights are
        damaged.
    """
    key = training_key(component_node, dataset_node)
    fits = list(find_shipped(key, dataset_node)) or list(find_earlier(key, Path(outputs)))
    if not fits:
        return None
    fits = keep_same_recipe(keep_same_images(fits, component_node, dataset_node), component_node)
    if not fits or fits[0].in_zoo:
        return fits[0].path if fits else None
    if len(fits) > 1:  # prefer the precision of the component's recipe
        precision = recipes.precision_of(recipes.own_recipe(component_node))
        fits = [fit for fit in fits if recipes.precision_of(fit.card.get("recipe") or {}) == precision] or fits
    if len(fits) > 1:
        role = role_of(locate(component_node["_target_"]))
        listed = "".join(f"\n  {role}.weights={fit.path}" for fit in fits)
        raise ValueError(f"{role}.weights=auto is ambiguous, {len(fits)} trainings fit; name one:{listed}")
    return fits[0].path


def find_shipped(key: str, dataset_node: Mapping[str, Any]) -> Iterator[Trained]:
    """Yields shipped weights with a training key.

    Raises: ValueError when weights for this data set are damaged. It says how to restore them.
    """
    for card_path in sorted(weights.ZOO.glob("*.json")):
        path = card_path.with_suffix(".safetensors")
        try:
            yield from match_card(card_path, path, key)
        except Damaged as error:
            if path.exists() and card_path.stem.startswith(data_name(dataset_node)):
                raise ValueError(f"{error}. {RESTORE.format(card_path)} and {path}") from None


def find_earlier(key: str, outputs: Path) -> Iterator[Trained]:
    """Yields weights with a training key from earlier trainings below `outputs`. Warnings name damaged files."""
    for card_path in sorted((outputs / "weights").glob(f"*/{CARD}")):
        try:
            yield from match_card(card_path, card_path.with_name(FILE), key)
        except Damaged as error:
            say_once(f"{error}: not used")


def match_card(card_path: Path, path: Path, key: str) -> list[Trained]:
    """A list of the weights that a card describes. It is empty when they are missing or have another training key.

    Raises: Damaged when the card or the weights are damaged.
    """
    try:
        card = read_json(card_path)
        if key_of_card(card) != key:
            return []
        check_file(path, card)
    except FileNotFoundError:
        return []
    return [Trained(path, card)]


def keep_same_images(
    fits: Sequence[Trained], component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]
) -> list[Trained]:
    """Selects the weights that were trained on the present images of the data set.

    When there are none, warnings name the weights that were trained on other images.
    """
    seen = training_digest(component_node, dataset_node)
    # a card without a digest fits built-in data only
    unknown = "" if locate(dataset_node["_target_"]).reads_files() else seen
    same = [fit for fit in fits if fit.card.get("dataset_digest", unknown) == seen]
    for fit in fits if not same else ():
        say_once(f"{fit.path} was trained on other images than the train split of this data set holds now: not used")
    return same


def keep_same_recipe(fits: Sequence[Trained], component_node: Mapping[str, Any]) -> list[Trained]:
    """Selects the weights that were trained by the component's recipe. Warnings name the others."""
    full = {**component_node, "recipe": (component_node.get("recipe") or "").removesuffix(recipes.SHORT)}
    if any(fit.in_zoo or not describe_difference(fit.card, full) for fit in fits):
        component_node = full  # weights of the full recipe exist: use them in place of the shortened one
    role, same = role_of(locate(component_node["_target_"])), []
    for fit in fits:
        if fit.in_zoo or not (difference := describe_difference(fit.card, component_node)):
            same.append(fit)
        else:
            text = f"{fit.path} was trained by another recipe ({difference}): not used"
            say_once(f"{text}; {role}.weights={fit.path} uses it")
    return same


def describe_difference(card: Mapping[str, Any], component_node: Mapping[str, Any]) -> str:
    """Describes the differences between the recipe on a card and a component's recipe. "" when there are none.

    The precision and the arguments without fingerprint are not compared. A card without a recipe fits any recipe.
    """
    if not card.get("recipe"):
        return ""
    wanted, given = (
        canonical(recipe, ("precision",)) for recipe in (recipes.own_recipe(component_node), card["recipe"])
    )
    keys = [key for key in sorted({*wanted, *given}) if wanted.get(key) != given.get(key)]
    listed = ", ".join(f"{key}={given.get(key)}, not {wanted.get(key)}" for key in keys[:3])
    return listed + (", ..." if len(keys) > 3 else "")


def training_key(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> str:
    """The digest of a component and of its training data's settings, without recipe and seed.

    Two trainings with the same key produce weights for the same network. The key does not include the component's
    weights and precision. It does not include the images either: `training_digest` is their digest.
    """
    dataset_node = training_data(component_node, dataset_node)
    # channels and size_px follow from the data
    drop = ("weights", "precision", "channels", "size_px", "trained_on", "temperature")
    component_node = map_nodes(full_network_node(component_node), without_removed)
    n, known = component_node.get("num_classes"), count_classes if learns_labels(component_node) else count_attributes
    if n is not None and n == known(dataset_node):
        component_node = {**component_node, "num_classes": None}  # the number follows from the data in this case
    component = canonical(component_node, drop)
    unseen = () if learns_labels(component_node) else locate(dataset_node["_target_"]).label_arguments(dataset_node)
    return digest(
        {"component": component, "dataset": canonical(dataset_node, drop=("split", "n_val", "n_test", *unseen))}
    )


def without_removed(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without the arguments that earlier versions had, which determined no weights."""
    return {name: value for name, value in node.items() if name not in REMOVED}


def key_of_card(card: Mapping[str, Any]) -> str | None:
    """The training key of a card, computed with the present signatures.

    Arguments that were added after the training have their defaults, and those that were removed have no effect. None
    when the component or the data set no longer exists, or when the file is not a card.
    """
    try:
        return training_key(card["component"], card["dataset"])
    except (ImportError, KeyError, AttributeError, TypeError):
        return None


def training_digest(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> str:
    """The digest of the training images, with their labels or attributes if the training uses them."""
    training = training_images(training_data(component_node, dataset_node))
    if learns_labels(component_node):
        return training.digest()
    attributes = full_network_node(component_node).get("output") == "sigmoid"
    return training.attribute_digest() if attributes else training.image_digest()


def training_images(dataset_node: Mapping[str, Any]) -> Dataset:
    """Builds the train split of a data set from the data set's config node."""
    given = {name: value for name, value in dataset_node.items() if name != "_target_"} | {"split": "train"}
    return build_cached(locate(dataset_node["_target_"]), json.dumps(given, sort_keys=True))


def count_classes(dataset_node: Mapping[str, Any]) -> int | None:
    """The number of classes of a data set. None when the data cannot be read."""
    target = locate(dataset_node["_target_"])
    if (names := target.classes({**defaults(target), **dataset_node})) is not None:
        return len(names)
    try:
        return training_images(dataset_node).num_classes
    except (OSError, ValueError):
        return None


def count_attributes(dataset_node: Mapping[str, Any]) -> int | None:
    """The number of attributes of a data set. None when it has none or when the data cannot be read."""
    try:
        return len(training_images(dataset_node).attribute_names) or None
    except (OSError, ValueError):
        return None


def data_name(dataset_node: Mapping[str, Any]) -> str:
    """The first word of the file names of a data set's shipped weights, such as "portraits"."""
    return dataset_node["_target_"].split(".")[-2].partition("_")[0]


@functools.cache
def say_once(text: str) -> None:
    """Logs a warning once per process, because a plan or a table searches for the same weights many times."""
    log.warning("%s", text)
