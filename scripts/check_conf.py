"""Compose and check every component file and every preset; exit 1 and name what is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from pomelo_lab.config.check import ConfigError, validate
from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.schema import register

FILES = ["dataset.root=data", "classifier.weights=null"]  # that a user has on disk
COUNTERFACTUALS = ["explainer=dime", "sampler=none", "dataset.label=Smiling"]  # what their suites score
OF_DIME = ["explainer.perceptual.weights=null"]
ROLES = (
    "dataset",
    "classifier",
    "segmenter",
    "generator",
    "sampler",
    "explainer",
    "metric",
    "metrics",
    "scale",
    "tracking",
)
ADDED = "metrics.added"  # key of a metric that is checked by itself


def check(overrides: list[str]) -> str | None:
    """None, or why a composed config cannot run."""
    try:
        validate(compose("run", overrides=overrides))
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
        **{
            ("metrics", suite): COUNTERFACTUALS
            for suite in ("counterfactual", "diversity", "fd_plus", "flips", "mark", "s3_oracle", "trajectory")
        },
        ("metrics", "direction_diversity"): ["explainer=gcd", *COUNTERFACTUALS[1:]],
        ("metrics", "sampler"): ["explainer=none"],
        ("explainer", "none"): ["metrics=sampler"],
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
    content = file_content(f"{role}/{name}")
    left_to_the_user = [key for key, value in content.items() if value == "???"]
    if role == "metric":
        left_to_the_user += [key for key in content if key == "weights"]
        suits.setdefault((role, name), COUNTERFACTUALS if "population" in content else [])
    chosen = ["metrics=none", f"+metric@{ADDED}={name}"] if role == "metric" else [f"{role}={name}"]
    return [
        *chosen,
        *suits.get((role, name), suits.get((role, "*"), [])),
        *(f"{ADDED if role == 'metric' else role}.{key}=data" for key in left_to_the_user),
    ]


if __name__ == "__main__":
    sys.exit(min(main(), 1))
