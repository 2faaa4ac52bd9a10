"""Every preset composes at scale=smoke, passes the config check, and is a grid of distinct, resolvable points."""

import functools
from pathlib import Path

import pytest
import yaml

from pomelo_lab.config.entry import CONF
from pomelo_lab.results.grid import GridCell, cells

PRESETS = sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml"))
OF_GCD = ["dataset.root=data", "classifier.weights=w.pth", "explainer.lpips=vgg16.pth"]
NETWORK = ["dataset.root=data", "classifier.weights=null"]
OF_DIME = ["dataset.root=data", "classifier.weights=null", "explainer.perceptual.weights=null"]
OF_FILES = {  # presets of data sets and networks that a user has on disk
    "gcd_table2": ["dataset.root=data"],
    "dime_paper": [*OF_DIME, "metrics.fid.weights=data", "metrics.fva.weights=data"],
    "dime_paper_ablation": [*OF_DIME, "metrics.fid_plus.weights=data"],
    "agarwal_paper": NETWORK,
    "agarwal_paper_places": NETWORK,
    "agarwal_paper_removal": [*NETWORK, "metrics.removal_accuracy.judge.weights=null"],
    "agarwal_paper_sensitivity": NETWORK,
    "gcd_paper": OF_GCD,
    "gcd_paper_hq": [*OF_GCD, "dataset.masks_root=masks", "generator.weights=ffhq.safetensors"],
    "gcd_paper_chexpert": OF_GCD,
    "pomelo_paper": ["dataset.root=data", "paths.cifar10=data"],
    "pomelo_paper_hq": ["dataset.root=data", "dataset.masks_root=data"],
    "fisher_paper": NETWORK,
    "fisher_paper_ehr": NETWORK,
    "fisher_paper_sanity": NETWORK,
}


@functools.cache
def grid(preset: str) -> tuple[GridCell, ...]:
    """Every job of a preset at scale=smoke, with the files that a user has; composed once for all tests, which only
    read it."""
    return tuple(cells(preset, ["scale=smoke", *OF_FILES.get(preset, [])]))


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_composes_and_every_point_passes_the_check(preset):
    jobs = grid(preset)
    params = yaml.safe_load(Path(CONF, "experiment", f"{preset}.yaml").read_text())["hydra"]["sweeper"]["params"]
    wanted = 1
    for text in params.values():
        wanted *= len(str(text).split(","))
    assert len(jobs) == wanted > 1
    assert len({tuple(sorted(c.point.items())) for c in jobs}) == wanted
    assert all(
        c.config["scale"]["name"] == "smoke"
        and c.config["paper_table"] == (None if preset == "pomelo_quickstart" else preset)
        for c in jobs
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_first_line_is_the_command(preset):
    lines = Path(CONF, "experiment", f"{preset}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_" and lines[1] == f"# python -m pomelo_lab.run -m experiment={preset}"


def test_row_chooses_sampler_and_explainer_together_and_the_command_line_wins():
    (cell,) = cells("pomelo_table2", ["method=ideal_mask"])
    assert (
        cell.choices["explainer"] == "ideal_mask"
        and not cell.config["sampler"]
        and cell.config["metrics"]["stability"] is None
    )
    (cell,) = cells("pomelo_table2", ["method=lime_blur", "sampler=noise"])
    assert cell.choices["sampler"] == "noise"


def test_base_images_are_chosen_in_the_suites():
    (cell,) = cells("pomelo_fig8", ["method=lime_blur", "sampler@metrics.deletion_black.filler=gray"])
    fillers = {
        name: node["filler"]["_target_"].rpartition(".")[2] for name, node in cell.config["metrics"].items() if node
    }
    assert fillers["deletion_black"] == "GraySampler" and fillers["insertion_black"] == "BlackSampler"


SHARED = [("pomelo_table1", f"pomelo_fig{k}") for k in (4, 5, 6)] + [
    ("pomelo_table2", f"pomelo_fig{k}") for k in (7, 13)
]


@pytest.mark.parametrize("table, figure", SHARED)
def test_figures_share_the_jobs_of_their_table(table, figure):
    """Only `paper_table` differs, and no fingerprint looks at it."""
    drop = ("paper_table", "choices", "experiment")
    plain = [[{k: v for k, v in c.config.items() if k not in drop} for c in cells(p)] for p in (table, figure)]
    assert plain[0] == plain[1]
