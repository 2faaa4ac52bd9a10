"""Compose and check every component file and every preset; exit 1 and name what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from pomelo_lab.config.check import ConfigError, checked
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.schema import register

ROLES = ("dataset", "classifier", "segmenter", "sampler", "explainer", "metrics", "scale", "tracking")
ROOTS = ("dataset.root=data", "dataset.masks_root=data")  # roots that real data sets leave to the user


def check(overrides: list[str]) -> str | None:
    """None, or why a composed config cannot run."""
    try:
        config = compose("run", overrides=overrides)
        config.dataset.update({k.partition(".")[2]: v for k, v in (r.split("=") for r in ROOTS) if k.partition(".")[2] in config.dataset})
        checked(config)
    except ConfigError as error:
        return str(error)
    return None


def main() -> int:
    """Check all; returns the number of failures."""
    register()
    failed = n = 0
    with initialize_config_dir(CONF, version_base="1.3"):
        for role in (*ROLES, "experiment"):
            for file in sorted(Path(CONF, role).glob("*.yaml")):
                problem = check(choice(role, file.stem))
                n += 1
                failed += problem is not None
                if problem:
                    print(f"{role}={file.stem}: {problem}")
    print(f"{n - failed} of {n} configs are right")
    return failed


def choice(role: str, name: str) -> list[str]:
    """Overrides that make a component part of a job that suits it."""
    suits = {
        ("metrics", "sampler"): ["explainer=none"],
        ("explainer", "none"): ["metrics=sampler"],
        ("sampler", "none"): ["explainer=random", "metrics=none"],
        ("dataset", "*"): ["metrics=none"],
        ("classifier", "*"): ["metrics=none"],
    }
    return [f"{role}={name}", *suits.get((role, name), suits.get((role, "*"), []))]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
