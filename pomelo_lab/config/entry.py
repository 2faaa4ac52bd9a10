"""How commands find their conf folder, and what they say when Hydra refuses an override."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_checkout = Path(__file__).resolve().parents[2]
_is_checkout = (_checkout / "conf" / "run.yaml").exists()
CONF = str(_checkout / "conf" if _is_checkout else Path(__file__).resolve().parents[1] / "conf")  # an installed wheel has it inside

# paths.root of conf/paths: the checkout, wherever a command is started; for an installed wheel the folder it is started in
os.environ.setdefault("POMELO_ROOT", str(_checkout if _is_checkout else Path.cwd()))


def command(main: Callable[[], None], config_name: str = "run") -> None:
    """Run a Hydra main; when it refuses an override, add the nearest known keys and choices."""
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            for line in suggestions(sys.argv[1:], config_name):
                print(line, file=sys.stderr)
        raise


def config_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The config folders that a command line names beside ours (`--config-dir DIR`, `-cd DIR`), and its other arguments."""
    folders, rest, words = [], [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(str(Path(value if equals else next(words, "")).resolve()))
        else:
            rest.append(word)
    return folders, rest


def search_path(folders: Sequence[str]) -> list[str]:
    """The override that adds config folders; nothing for none."""
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []


def suggestions(arguments: list[str], config_name: str = "run") -> list[str]:
    """"did you mean" for override keys that no config has, and for group choices without a file."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from pomelo_lab.config.signature import did_you_mean

    folders, arguments = config_folders(arguments)
    overrides = [a.lstrip("+~") for a in arguments if "=" in a and not a.startswith("-")]
    groups = {str(p.relative_to(CONF)) for p in Path(CONF).rglob("*") if p.is_dir()}
    choices = {g: [p.stem for folder in (CONF, *folders) for p in Path(folder, g).glob("*.yaml")] for g in groups}
    found, chosen = [], []
    for text in overrides:
        key, _, value = text.partition("=")
        if key in groups:
            unknown = [v for v in value.split(",") if v not in choices[key] and not v.startswith("glob(")]
            found += [f"{key}={v} does not exist{did_you_mean(v, choices[key])}; there are: {', '.join(sorted(choices[key]))}" for v in unknown]
            chosen += [] if unknown else [f"{key}={value.split(',')[0]}"]
    if found:
        return found
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose(config_name, overrides=[*search_path(folders), *chosen])
        for text in overrides:
            key = text.partition("=")[0]
            if key in groups or "@" in key or "/" in key or key.startswith("hydra."):
                continue
            parent, _, leaf = key.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
            while parent and node is None:
                parent, _, leaf = parent.rpartition(".")
                node = OmegaConf.select(config, parent) if parent else config
            known = list(node) if OmegaConf.is_dict(node) else []
            if leaf not in known:
                found.append(f"{key} does not exist{did_you_mean(leaf, known)}; {parent or 'the top level'} has: {', '.join(map(str, known))}")
    except Exception:  # the suggestion is a courtesy: Hydra's own message stands above it
        return found
    return found
