"""Weights files: written completely or not at all, and refused with a clear message when they do not fit a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.files import Damaged, read_json, write_bytes, write_json

ZOO = Path(__file__).resolve().parent / "zoo"
SHIPPED = "zoo:"  # the prefix of the name of a shipped file
FILE, CARD = "weights.safetensors", "card.json"
RESTORE = "It was shipped with pomelo_lab: install it again, or in a checkout: git checkout -- {}"


def zoo_path(text: str) -> Path:
    """The shipped file that `zoo:<name>` stands for.

    Raises: ValueError with the names of all shipped files when there is no such file.
    """
    name = text.removeprefix(SHIPPED)
    path = ZOO / f"{name}.safetensors"
    if not path.is_file():
        known = sorted(p.stem for p in ZOO.glob("*.safetensors"))
        raise ValueError(
            f"weights={text}: nothing of that name is shipped{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    return path


def check_file(path: Path, card: Mapping[str, Any]) -> None:
    """Checks that a weights file has the digest on its card.

    Raises: FileNotFoundError when the file does not exist; Damaged when the digests differ.
    """
    if file_digest(path) != card.get("digest"):
        raise Damaged(f"{path} is damaged (it does not match the digest in its card)")


def check_beside(path: Path, key: str) -> None:
    """Checks a weights file against the card in the same folder. Files without a card are not checked.

    Raises: ValueError when the weights or the card are damaged. It says what to do.
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
        if not ours and "its card" not in str(error):  # the JSON file belongs to the user and is not a card
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
    """Writes a safetensors file and then its card, each completely or not at all.

    The files are weights.safetensors and card.json, or x.safetensors and x.json. The card is written last. A card
    therefore proves that the weights file is complete.

    Args: stored: precision of the parameters in the file. measured: additional tensors, stored in their own precision.
    Returns: the card with the `digest` of the file.
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
    """Reads the tensors of a .safetensors file, or of a .pt/.pth/.ckpt state dict (with weights_only=True).

    In a state dict, the tensors may lie under an entry `state_dict` or `model`. A prefix `module.` (DataParallel) is
    removed from their names.
    Raises: ValueError with `key` and the path when the file is missing or cannot be read.
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
    """Loads the weights of a network from a file, completely or not at all.

    Args:
        what: the architecture in words, for the message.
        ignore: tensors of the file are ignored when the first part of their name is listed here.
        translated: renames the tensors of the file to the names of the network.
    Raises: ValueError with `key`, the path, and the first tensors that are missing, unknown, of another shape, or that
        contain NaN.
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
    """The first 16 hex characters of the sha256 of all parameters and buffers.

    The digest does not depend on the device or on the format of the weights file.
    """
    hasher = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        hasher.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return hasher.hexdigest()[:16]
