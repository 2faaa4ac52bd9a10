"""Compose and check every component file and every preset; exit 1 and name what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.config.check import ConfigError, validate
from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.schema import register

FILES = ["dataset.root=data", "classifier.weights=null"]  # that a user has on disk
COUNTERFACTUALS = ["explainer=dime", "sampler=none", "dataset.label=Smiling"]  # what their suites score
OF_DIME = ["explainer.perceptual.weights=null"]
GROUPS = (*ROLES, "metric", "metrics", "scale", "tracking", "experiment")
ADDED = "metrics.added"  # key of a metric that is checked by itself
# what else a job needs to suit a component; "*" stands for the other components of the role
SUITS = {
    **{
        ("metrics", suite): COUNTERFACTUALS
        for suite in ("counterfactual", "diversity", "fd_plus", "flips", "mark", "s3_oracle", "trajectory")
    },
    ("metrics", "direction_diversity"): ["explainer=gcd", *COUNTERFACTUALS[1:]],
    ("metrics", "sampler"): ["explainer=none"],
    ("explainer", "none"): ["metrics=sampler"],
    ("explainer", "stored"): ["explainer.maps=data", "sampler=none"],
    ("sampler", "none"): ["explainer=random", "metrics=none"],
    ("segmenter", "none"): ["explainer=mp2", "metrics=none"],
    ("metrics", "inpaint"): ["sampler=ddim"],
    ("sampler", "reference_cifar10"): ["paths.cifar10=data"],
    ("sampler", "reference_dataset"): ["sampler.source.root=data"],
    ("experiment", "pomelo_paper"): ["dataset.root=data", "paths.cifar10=data"],
    ("experiment", "pomelo_paper_hq"): ["dataset.root=data", "dataset.masks_root=data"],
    ("experiment", "gcd_table2"): ["dataset.root=data"],
    **{("experiment", f"fisher_paper{part}"): FILES for part in ("", "_ehr", "_sanity")},
    **{("experiment", f"agarwal_paper{part}"): FILES for part in ("", "_places", "_sensitivity")},
    ("experiment", "agarwal_paper_removal"): [*FILES, "metrics.removal_accuracy.judge.weights=null"],
    ("experiment", "dime_paper"): [*FILES, *OF_DIME, "metrics.fid.weights=data", "metrics.fva.weights=data"],
    ("experiment", "dime_paper_ablation"): [*FILES, *OF_DIME, "metrics.fid_plus.weights=data"],
    ("experiment", "gcd_paper"): ["dataset.root=data", "explainer.lpips=data"],
    ("experiment", "gcd_paper_hq"): ["dataset.root=data", "dataset.masks_root=data", "explainer.lpips=data"],
    ("experiment", "gcd_paper_chexpert"): ["dataset.root=data", "explainer.lpips=data"],
    ("metrics", "code"): ["explainer=gcd", "sampler=none"],
    ("metrics", "s3"): [*COUNTERFACTUALS, "metrics.s3.weights=data"],
    ("metrics", "lpips"): ["metrics.removal_lpips.weights=data"],
    ("metrics", "fid_plus"): [*COUNTERFACTUALS, "metrics.fid_plus.weights=data"],
    ("metrics", "diversity_lpips"): [*COUNTERFACTUALS, "metrics.sigma_l.weights=data"],
    ("metrics", "published"): [
        *COUNTERFACTUALS,
        *(f"metrics.{name}.weights=data" for name in ("fid", "sfid", "fva", "fs", "lpips")),
    ],
    ("dataset", "*"): ["metrics=none"],
    ("classifier", "*"): ["metrics=none"],
    ("metric", "change_similarity"): ["explainer=gcd", *COUNTERFACTUALS[1:]],
    ("metric", "code_probe"): ["explainer=gcd", "sampler=none"],
    ("metric", "diversity"): COUNTERFACTUALS,
    ("metric", "factor_change"): COUNTERFACTUALS,
    ("metric", "latent_deviation"): ["sampler=ddim"],
    ("metric", "outside_range"): ["sampler=flow"],
}


def main() -> int:
    """Check all; returns the number of configs that cannot run."""
    register()
    choices = [(role, file.stem) for role in GROUPS for file in sorted(Path(CONF, role).glob("*.yaml"))]
    with initialize_config_dir(CONF, version_base="1.3"):
        problems = {f"{role}={name}": find_problem(job_with(role, name)) for role, name in choices}
    wrong = {choice: problem for choice, problem in problems.items() if problem}
    for choice, problem in wrong.items():
        print(f"{choice}: {problem}")
    print(f"{len(problems) - len(wrong)} of {len(problems)} configs are right")
    return len(wrong)


def find_problem(overrides: list[str]) -> str | None:
    """Why a config cannot run, None where it can."""
    try:
        validate(compose("run", overrides=overrides))
    except ConfigError as error:
        return str(error)
    return None


def job_with(role: str, name: str) -> list[str]:
    """The overrides of a job that a component suits, with placeholders for what the user gives."""
    content = file_content(f"{role}/{name}")
    left_to_the_user = [key for key, value in content.items() if value == "???"]
    suits = SUITS.get((role, name), SUITS.get((role, "*"), []))
    if role != "metric":
        return [f"{role}={name}", *suits, *(f"{role}.{key}=data" for key in left_to_the_user)]
    left_to_the_user += [key for key in content if key == "weights"]
    if (role, name) not in SUITS and "population" in content:
        suits = COUNTERFACTUALS
    return ["metrics=none", f"+metric@{ADDED}={name}", *suits, *(f"{ADDED}.{key}=data" for key in left_to_the_user)]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
