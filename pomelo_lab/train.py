"""Trains a classifier or a generator: `python -m pomelo_lab.train classifier=<name>|generator=<name> dataset=<name>`.

After an interruption, the same command continues the training. When the training is finished, the command says so and
does nothing. `force=true` trains again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from pomelo_lab.allocator import keep_pages
from pomelo_lab.config.check import ConfigError, resolved
from pomelo_lab.config.command import command
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.schema import CommonSchema


@dataclass
class TrainSchema(CommonSchema):
    """The top-level keys of `pomelo_lab.train`."""

    recipe: Any = MISSING
    devices: int = MISSING


ConfigStore.instance().store(name="train_schema", node=TrainSchema)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def main(cfg: DictConfig) -> None:
    """The Hydra entry point of one training."""
    from pomelo_lab.training.train import train_component

    keep_pages()
    config = validate_training(cfg)
    role = trained_role(config)
    try:
        path = train_component(
            config[role],
            config["dataset"],
            config["recipe"],
            outputs=config["paths"]["outputs"],
            seed=config["seed"],
            device=config["device"],
            force=config["force"],
            devices=config["devices"],
        )
    except (ValueError, OSError, FloatingPointError) as error:  # a user can repair these: show no traceback
        raise ConfigError(f"{error}") from error
    print(f"use it with {role}.weights={path}\nresults: {path.parent}")


def trained_role(config: Mapping[str, Any]) -> str:
    """The role of the trained component: "generator" when the config has a generator, else "classifier"."""
    return "generator" if config.get("generator") else "classifier"


def validate_training(cfg: DictConfig) -> dict[str, Any]:
    """Resolves and checks the config of a training, before any data are read.

    Raises: ConfigError with all problems in one message.
    """
    from pomelo_lab.config.signature import locate, node_problems
    from pomelo_lab.dataset.base import Dataset
    from pomelo_lab.training.recipe import Recipe

    config = resolved(cfg)
    role = trained_role(config)
    problems = [
        f"{key} is missing: choose one with {key}=<name>" for key in (role, "dataset", "recipe") if not config.get(key)
    ]
    if not problems:
        problems += node_problems(config["dataset"], "dataset", Dataset) + node_problems(
            config["recipe"], "recipe", Recipe
        )
        problems += node_problems(config[role], role, None, (Dataset,))
    if not problems:
        target = locate(config[role]["_target_"])
        if not getattr(target, "training", ""):
            problems.append(f"{role}: {target.__name__} cannot be trained (it names no `training`)")
        dataset = locate(config["dataset"]["_target_"])
        if config[role].get("output") == "sigmoid" and "attributes" not in dataset.features(config["dataset"]):
            problems.append(f"{role}.output=sigmoid learns attributes, dataset {dataset.__name__} has none")
    if config["devices"] < 1:
        problems.append(f"devices must be >= 1, got {config['devices']}")
    if config["seed"] < 0:
        problems.append(f"seed must be >= 0, got {config['seed']}")
    if problems:
        head = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"the config has {head}:\n" + "\n".join(f"  - {text}" for text in problems))
    return config


def cli() -> None:
    """The installed command `pomelo-lab-train`."""
    command(main, "train", kept=lambda: "the last checkpoint is kept")


if __name__ == "__main__":
    sys.exit(cli())
