"""Weights files: saved whole or not at all, refused with a clear text when they do not fit, found by what they were
trained for."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.config.fingerprint import canonical, digest, file_digest
from pomelo_lab.config.signature import defaults, locate, role_of
from pomelo_lab.files import Damaged, read_json, write_bytes, write_json

log = logging.getLogger(__name__)

ZOO = Path(__file__).resolve().parent / "zoo"
SHIPPED = "zoo:"  # in front of the name of a shipped file
SHORT = ":short"  # behind the name of a recipe: shortened to seconds, for scale=smoke
FILE, CARD = "weights.safetensors", "card.json"
RESTORE = "It was shipped with pomelo_lab: install it again, or in a checkout: git checkout -- {}"


def trains(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> str:
    """Digest of what weights are for: the component without its weights and arithmetic, and the settings of the data
    set as its training sees it. What the images are, `training_digest` says."""
    dataset_node = training_data(component_node, dataset_node)
    # the shape follows from the data
    drop = ("weights", "precision", "channels", "size_px", "trained_on", "temperature")
    component_node = whole(component_node)
    n, known = component_node.get("num_classes"), known_classes if learns_labels(component_node) else known_attributes
    if n is not None and n == known(dataset_node):
        component_node = {**component_node, "num_classes": None}  # a restated default is the same network
    component = canonical(component_node, drop)
    unseen = () if learns_labels(component_node) else locate(dataset_node["_target_"]).label_arguments(dataset_node)
    return digest(
        {"component": component, "dataset": canonical(dataset_node, drop=("split", "n_val", "n_test", *unseen))}
    )


def training_digest(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> str:
    """A text that changes with what the training sees: the images of the train split; their labels and attributes where
    it looks at them."""
    training = training_images(training_data(component_node, dataset_node))
    if learns_labels(component_node):
        return training.digest()
    return training.attribute_digest() if whole(component_node).get("output") == "sigmoid" else training.image_digest()


def training_images(dataset_node: Mapping[str, Any]) -> Any:
    """The train split of a data set."""
    from pomelo_lab.dataset.base import built

    given = {name: value for name, value in dataset_node.items() if name != "_target_"} | {"split": "train"}
    return built(locate(dataset_node["_target_"]), json.dumps(given, sort_keys=True))


def known_classes(dataset_node: Mapping[str, Any]) -> int | None:
    """Number of classes of a data set; None where it cannot be read."""
    target = locate(dataset_node["_target_"])
    if (names := target.classes({**defaults(target), **dataset_node})) is not None:
        return len(names)
    try:
        return training_images(dataset_node).num_classes
    except (OSError, ValueError):
        return None


def known_attributes(dataset_node: Mapping[str, Any]) -> int | None:
    """Number of attributes of a data set; None where it has none or cannot be read."""
    try:
        return len(training_images(dataset_node).attribute_names) or None
    except (OSError, ValueError):
        return None


def training_data(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> dict[str, Any]:
    """The data set that a component learns from: the job's, as its kind says that networks learn from it, with what
    `trained_on` changes of it."""

    def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        inner = {
            name: merged(old[name], value)
            for name, value in new.items()
            if isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
        }
        return {**old, **new, **inner}

    target = locate(dataset_node["_target_"])
    changed = target.training_arguments({**defaults(target), **dataset_node}, learns_labels(component_node))
    return merged({**dataset_node, **changed}, component_node.get("trained_on") or {})


def learns_labels(component_node: Mapping[str, Any]) -> bool:
    """Whether training looks at labels: of classifiers of one of several classes, not of generators and attribute
    networks."""
    return {**defaults(locate(component_node["_target_"])), **whole(component_node)}.get("output") == "softmax"


def whole(component_node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is trained for a component: where one output of a multi-label network is explained (`column`), the network
    of all outputs."""
    if component_node.get("column") is None:
        return component_node
    rest = {name: value for name, value in component_node.items() if name not in ("column", "n_outputs")}
    return {**rest, "output": "sigmoid", "num_classes": component_node.get("n_outputs")}


def resolve(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path) -> Path | None:
    """The file that `weights: auto` stands for: shipped in the zoo, else trained earlier below `outputs`, else None.

    Weights of the same network on data of the same settings that hold other images, that were trained by another recipe
    than the component names, and damaged ones, are named in the log and not used. Shipped weights stand for every
    recipe, those of the whole recipe for the shortened one.

    Raises: ValueError when several trainings (other seeds) fit: the user then names one; and when shipped weights are
        damaged.
    """
    from pomelo_lab.training.recipe import own_recipe, precision_of

    wanted, fits = trains(component_node, dataset_node), []
    for card_path, path in (*places(ZOO, "*.json"), *places(Path(outputs) / "weights", f"*/{CARD}")):
        if path.parent != ZOO and any(fit.parent == ZOO for fit, _ in fits):
            break
        try:
            card = read_json(card_path)
            if trained_for(card) == wanted:
                check_file(path, card)
                fits.append((path, card))
        except FileNotFoundError:
            continue
        except Damaged as error:
            if path.parent != ZOO:
                say_once(f"{error}: not used")
            elif path.exists() and card_path.stem.startswith(data_name(dataset_node)):
                raise ValueError(f"{error}. {RESTORE.format(card_path)} and {path}") from None
    if not fits:
        return None
    seen = training_digest(component_node, dataset_node)
    same = [
        (path, card)
        for path, card in fits
        if card.get("dataset_digest", "" if locate(dataset_node["_target_"]).reads_files() else seen) == seen
    ]
    if not same:
        for path, _ in fits:
            say_once(f"{path} was trained on other images than the train split of this data set holds now: not used")
    role = role_of(locate(component_node["_target_"]))
    matches, full = [], {**component_node, "recipe": (component_node.get("recipe") or "").removesuffix(SHORT)}
    if any(path.parent == ZOO or not other_recipe(card, full) for path, card in same):
        component_node = full  # a shortened training stands in for the whole one, where that does not exist
    for path, card in same:
        if path.parent == ZOO or not (apart := other_recipe(card, component_node)):
            matches.append(path)
        else:
            say_once(f"{path} was trained by another recipe ({apart}): not used; {role}.weights={path} uses it")
    if matches and matches[0].parent == ZOO:
        return matches[0]
    if len(matches) > 1:  # they differ in what changes no result: the arithmetic that the component asks for decides
        precision = precision_of(own_recipe(component_node))
        matches = [
            path for path, card in same if path in matches and precision_of(card.get("recipe") or {}) == precision
        ] or matches
    if len(matches) > 1:
        listed = "".join(f"\n  {role}.weights={path}" for path in matches)
        raise ValueError(f"{role}.weights=auto is ambiguous, {len(matches)} trainings fit; name one:{listed}")
    return matches[0] if matches else None


def other_recipe(card: Mapping[str, Any], component_node: Mapping[str, Any]) -> str:
    """Where the recipe of a card differs from the one that a component names, in words; nothing where both give the
    same weights.

    Of recipes only what changes results counts; the arithmetic of a training is no such thing. Nothing is known of
    cards without a recipe.
    """
    from pomelo_lab.training.recipe import own_recipe

    if not card.get("recipe"):
        return ""
    wanted, given = (canonical(recipe, ("precision",)) for recipe in (own_recipe(component_node), card["recipe"]))
    keys = [key for key in sorted({*wanted, *given}) if wanted.get(key) != given.get(key)]
    return ", ".join(f"{key}={given.get(key)}, not {wanted.get(key)}" for key in keys[:3]) + (
        ", ..." if len(keys) > 3 else ""
    )


def shipped(text: str) -> Path:
    """The file that `zoo:<name>` stands for. Raises ValueError naming those that exist."""
    name = text.removeprefix(SHIPPED)
    path = ZOO / f"{name}.safetensors"
    if not path.is_file():
        from pomelo_lab.config.signature import did_you_mean

        known = sorted(p.stem for p in ZOO.glob("*.safetensors"))
        raise ValueError(
            f"weights={text}: nothing of that name is shipped{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    return path


@functools.cache
def say_once(text: str) -> None:
    """A line of log for this process: a plan and a table ask for the same weights many times."""
    log.warning("%s", text)


def trained_for(card: Mapping[str, Any]) -> str | None:
    """What a card's weights are for, read with today's signatures: arguments that came later count at their defaults.

    None when the component or the data set no longer exists, or the card says something else.
    """
    try:
        return trains(card["component"], card["dataset"])
    except (ImportError, KeyError, AttributeError, TypeError):
        return None


def has_weights(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any], outputs: str | Path) -> bool:
    """Whether a component can be built without training first."""
    return component_node.get("weights") != "auto" or resolve(component_node, dataset_node, outputs) is not None


def places(folder: Path, pattern: str) -> Iterator[tuple[Path, Path]]:
    """(card, weights) of a folder, by name."""
    for card_path in sorted(folder.glob(pattern)):
        yield card_path, card_path.with_name(FILE) if card_path.name == CARD else card_path.with_suffix(".safetensors")


def data_name(dataset_node: Mapping[str, Any]) -> str:
    """The first word of the names of shipped weights for a data set: "portraits"."""
    return dataset_node["_target_"].split(".")[-2].partition("_")[0]


def check_file(path: Path, card: Mapping[str, Any]) -> None:
    """Raises FileNotFoundError; Damaged when a weights file is not the one of its card."""
    if file_digest(path) != card.get("digest"):
        raise Damaged(f"{path} is damaged (it does not match the digest in its card)")


def check_beside(path: Path, key: str) -> None:
    """Weights that a card lies beside are what was saved; nothing is known of others.

    Raises ValueError with what to do.
    """
    card_path = path.with_name(CARD) if path.name == FILE else path.with_suffix(".json")
    ours = card_path.name == CARD or path.parent == ZOO
    try:
        card = read_json(card_path)
        if "digest" in card:
            check_file(path, card)
    except FileNotFoundError:
        return
    except Damaged as error:
        if not ours and "its card" not in str(error):  # some other JSON of the user's
            return
        again = "Train them again: weights=auto does, or the command that trained them"
        remedy = RESTORE.format(card_path) + f" and {path}" if path.parent == ZOO else again
        raise ValueError(f"{key}: {error}. {remedy}") from None


def save(
    network: nn.Module,
    path: str | Path,
    card: Mapping[str, Any],
    stored: torch.dtype = torch.float32,
    measured: Mapping[str, Tensor] | None = None,
) -> dict[str, Any]:
    """Write a safetensors file and then its card (weights.safetensors + card.json, or x.safetensors + x.json), each all
    or nothing.

    Args: stored: precision of the parameters in the file; measured: further tensors, stored as they are.
    Returns: the card with the `digest` of the file. The card comes last, so where there is a card the file is whole.
    """
    from safetensors.torch import save as to_bytes

    path = Path(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    state = {name: tensor.to(stored) if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}
    write_bytes(path, to_bytes(state | dict(measured or {})))
    card = {**card, "digest": file_digest(path), "bytes": path.stat().st_size}
    write_json(path.with_name(CARD) if path.name == FILE else path.with_suffix(".json"), card, indent=2)
    return card


def read_state(path: str | Path, key: str = "classifier.weights") -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pt/.pth/.ckpt state dict read with weights_only=True.

    A `state_dict` or `model` entry around the tensors and a `module.` prefix (DataParallel) are taken off.
    Raises: ValueError naming `key` and the path when it is missing or is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{key}: there is no file {path}")
    check_beside(path, key)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        text = "it is damaged or holds Python objects, which are not unpickled since they could run code"
        remedy = "save tensors alone, with torch.save(model.state_dict(), path) or as .safetensors"
        raise ValueError(
            f"{key}: {path} cannot be read as a safetensors file or a plain state dict: {text}; {remedy}"
        ) from None
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{key}: {path} cannot be read as a safetensors file or a plain state dict: {first}") from None
    for wrapper in ("state_dict", "model"):
        state = state[wrapper] if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{key}: {path} holds no state dict (a mapping of names to tensors)")
    prefix = "module."
    return {name.removeprefix(prefix): value for name, value in state.items()}


def load(
    network: nn.Module,
    path: str | Path,
    what: str,
    key: str = "classifier.weights",
    ignore: tuple[str, ...] = (),
    translated: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> None:
    """Fill a network from a file, completely or not at all.

    Args:
        what: the architecture in words, for the message.
        ignore: first parts of names in the file that the network leaves out on purpose.
        translated: the file's tensors under this package's names.
    Raises: ValueError naming `key`, the path, and the first names that are missing, unknown, of another shape or hold
        NaN.
    """
    state = {
        name: value for name, value in translated(read_state(path, key)).items() if name.partition(".")[0] not in ignore
    }
    expected = network.state_dict()
    differs = [n for n, tensor in expected.items() if n in state and state[n].shape != tensor.shape]
    wrong = [f"{n} is {list(state[n].shape)}, expected {list(expected[n].shape)}" for n in differs]
    optional = {n for n in expected if n.endswith("num_batches_tracked")}
    missing = [n for n in expected if n not in state and n not in optional]
    unknown = [n for n in state if n not in expected]
    broken = [n for n in expected if n in state and state[n].is_floating_point() and state[n].isnan().any()]
    problems = [
        f"{label}: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
        for label, names in (
            ("other shape", wrong),
            ("missing", missing),
            ("unknown", unknown),
            ("not a number (NaN)", broken),
        )
        if names
    ]
    if problems:
        single_output = any(
            state[n].shape[:1] == (1,) and expected[n].shape[:1] == (2,) and state[n].shape[1:] == expected[n].shape[1:]
            for n in differs
        )
        hint = (
            "; a network of one output, the logit of a class, is classifier.column=0 classifier.n_outputs=1"
            if single_output
            else ""
        )
        raise ValueError(f"{key}: {path} does not fit {what}; " + "; ".join(problems) + hint)
    network.load_state_dict(state, strict=False)


def state_digest(network: nn.Module) -> str:
    """16 hex characters of the sha256 of all parameters and buffers, the same on every device and for every file
    format."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        hasher.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:16]
