"""The location of the conf folder, and the contents of its files and of the user's config folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.files import parse_yaml
from pomelo_lab.plugins import plugin_folders

_checkout = Path(__file__).resolve().parents[2]
_is_checkout = (_checkout / "conf" / "run.yaml").exists()
# an installed wheel contains conf inside the package
CONF = str(_checkout / "conf" if _is_checkout else Path(__file__).resolve().parents[1] / "conf")

# paths.root of conf/paths: the checkout, whatever the current folder is. For an installed wheel, the current folder.
os.environ.setdefault("POMELO_ROOT", str(_checkout if _is_checkout else Path.cwd()))


def script_command(script: str) -> str:
    """The command that runs a script of a checkout. An installed wheel has no scripts, but the same word."""
    return f"python scripts/{script}.py" if _is_checkout else f"pomelo-lab {script}"


def config_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The config folders of a command line (`--config-dir DIR`, `-cd DIR`) and of plug-ins, and its other arguments."""
    folders, rest, words = [], [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(str(Path(value if equals else next(words, "")).resolve()))
        else:
            rest.append(word)
    return [*folders, *plugin_folders()], rest


def file_content(path: str) -> dict[str, Any] | None:
    """The content of conf/<path>.yaml, merged as Hydra does with the files of the same group that it extends.

    Components of other groups that its defaults list chooses are left out. None when the file does not exist.
    """
    file = Path(CONF, f"{path}.yaml")
    if not file.is_file():
        return None
    content = parse_yaml(file.read_text()) or {}
    base: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base |= file_content(f"{path.rpartition('/')[0]}/{entry.partition('@')[0]}") or {}
    return base | content


def rename_row_group(arguments: Sequence[str]) -> list[str]:
    """The arguments with the former group name `row` replaced by its present name `method`."""
    return [re.sub(r"^(\+{0,2}|~)row(?=[=@]|$)", r"\1method", text) for text in arguments]


def search_path(folders: Sequence[str]) -> list[str]:
    """The override that adds config folders to Hydra's search path. Empty when there are no folders."""
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []


def searched_folders(overrides: Sequence[str]) -> tuple[str, ...]:
    """The config folders that an override of Hydra's search path adds (the inverse of `search_path`), and plug-ins'."""
    text = next((text for text in overrides if text.startswith("hydra.searchpath=[")), "")
    return tuple(dict.fromkeys((*re.findall(r"file://([^,\]]+)", text), *plugin_folders())))
