"""What a composition reads beside the package's own files: the user's config folders and environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import CONF, searched_folders
from pomelo_lab.config.memory import contents


def surroundings(overrides: Sequence[str]) -> dict[str, Any]:
    """The digests of the config files in the user's folders, and the environment variables that configs and overrides
    name. All variables, where the name of one is computed."""
    own = [path for folder in searched_folders(overrides) for path in yaml_files(folder)]
    texts = [*overrides, *(path.read_text(errors="replace") for path in (*own, *yaml_files(CONF)))]
    names = {name for text in texts for name in re.findall(r"oc\.env:\s*(\w*)", text)}
    values = {name: os.environ.get(name) for name in (os.environ if "" in names else names)}
    return {"files": contents(own), "environment": values}


def yaml_files(folder: str | Path) -> Iterator[Path]:
    """The files below a folder that Hydra can read, also through links to folders. Hidden folders are left out."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if (real := os.path.realpath(root)) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(root, name) for name in names if name.endswith(".yaml"))


def is_constant(text: str) -> bool:
    """Whether a config, or a list of overrides, gives the same values at any later time: it does not ask for the
    time (`${now:%H}`)."""
    return not re.search(r"\$\{\s*now:", text)
