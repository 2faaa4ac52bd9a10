"""Where the conf folder lies, and what its files and the user's config folders hold."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_checkout = Path(__file__).resolve().parents[2]
_is_checkout = (_checkout / "conf" / "run.yaml").exists()
# an installed wheel has it inside
CONF = str(_checkout / "conf" if _is_checkout else Path(__file__).resolve().parents[1] / "conf")

# paths.root of conf/paths: the checkout, wherever a command is started; for an installed wheel the folder it is started
# in
os.environ.setdefault("POMELO_ROOT", str(_checkout if _is_checkout else Path.cwd()))


def config_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The config folders that a command line names beside ours (`--config-dir DIR`, `-cd DIR`), and its other
    arguments."""
    folders, rest, words = [], [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(str(Path(value if equals else next(words, "")).resolve()))
        else:
            rest.append(word)
    return folders, rest


def file_content(path: str) -> dict[str, Any] | None:
    """The content of conf/<path>.yaml with that of the files of its group that it extends, as Hydra composes them.

    Components of other groups that its defaults list chooses are left out. None where there is no such file.
    """
    import yaml

    file = Path(CONF, f"{path}.yaml")
    if not file.is_file():
        return None
    content = yaml.safe_load(file.read_text()) or {}
    base: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base |= file_content(f"{path.rpartition('/')[0]}/{entry.partition('@')[0]}") or {}
    return base | content


def renamed(arguments: Sequence[str]) -> list[str]:
    """Arguments with the present names of config groups: conf/method was conf/row."""
    return [re.sub(r"^(\+{0,2}|~)row(?=[=@]|$)", r"\1method", text) for text in arguments]


def search_path(folders: Sequence[str]) -> list[str]:
    """The override that adds config folders; nothing for none."""
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []


def searched_folders(overrides: Sequence[str]) -> tuple[str, ...]:
    """The folders that `search_path` names in overrides."""
    text = next((text for text in overrides if text.startswith("hydra.searchpath=[")), "")
    return tuple(re.findall(r"file://([^,\]]+)", text))
