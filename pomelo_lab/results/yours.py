"""Finished jobs of the user as rows of a paper's table, in the group `yours`: `--yours NAME=SCORE_FOLDER`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.config.tree import leaves
from pomelo_lab.engine.score_files import read_status
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.method import load_methods

QUESTION = ("dataset", "classifier", "images", "n_images", "target")  # what the rows of a table have in common


def own_cells(words: Sequence[str], cells: Sequence[GridCell], taken: Collection[str] = ()) -> list[GridCell]:
    """The cells of score folders.

    Args:
        words: "FOLDER" or "NAME=FOLDER". Without a name, it is that of the file of maps, or the method's.
        cells: the cells of the table.
        taken: keys of the table's rows.
    Raises: ValueError for a folder without a finished job, or whose job has other images, another classifier or
        another target than the table; the message has the keys and both values.
    """
    own: list[GridCell] = []
    methods = load_methods() if words else {}
    for word in words:
        name, equals, text = word.partition("=")
        folder = Path(text if equals else word).expanduser().resolve()
        config = read_config(folder)
        if problems := list(differences(config, cells)):
            raise ValueError(f"--yours {folder} answers another question than the table: {'; '.join(problems)}")
        name = name if equals else default_name(config)
        known = {*taken, *methods, *(cell.choices["method"] for cell in own)}
        while name in known:
            name = f"{name} (yours)"
        config["paths"]["outputs"] = str(folder.parents[1])
        choices = {**(config.get("choices") or {}), "method": name}
        own.append(GridCell(choices, {"method": name}, config, fingerprint=folder.name))
    return own


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a finished job."""
    import yaml

    if not (folder / "config.yaml").is_file():
        raise ValueError(f"--yours {folder} is no score folder: it has no config.yaml")
    state = read_status(folder).get("state", "missing")
    if state != "done":
        raise ValueError(f"--yours {folder}: the job is not finished, its state is {state}")
    return yaml.safe_load((folder / "config.yaml").read_text())


def default_name(config: Mapping[str, Any]) -> str:
    """The name of a job's row: its file of maps or counterfactuals, its method, or its explainer."""
    explainer, choices = config["explainer"] or {}, config.get("choices") or {}
    file = explainer.get("maps") or explainer.get("counterfactuals")
    return Path(str(file)).stem if file else choices.get("method") or choices.get("explainer") or "yours"


def differences(config: Mapping[str, Any], cells: Sequence[GridCell]) -> Iterator[str]:
    """The values in which a job differs from every cell of a table, with those of the first cell."""
    asked = [dict(leaves(question(cell.config))) for cell in cells]
    given = dict(leaves(question(config)))
    if not asked or given in asked:
        return
    for key in dict.fromkeys((*given, *asked[0])):
        if given.get(key) != asked[0].get(key):
            yield f"{key} is {given.get(key)}, the table has {asked[0].get(key)}"


def question(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a job asks, without locations."""
    return {key: canonical(config.get(key)) for key in QUESTION}
