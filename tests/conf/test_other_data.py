"""Every preset on data that it was not made for: a cell can be built, or is a gap with its reason; a table follows, not
an error."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from pomelo_lab.config.entry import CONF
from pomelo_lab.results.grid import GridCell, cells
from pomelo_lab.results.points import sweep_values
from tests.dataset.fixtures import make_celeba, make_celebamask_hq, make_chexpert
from tests.dataset.test_imagenet import make as make_imagenet

PRESETS = sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml"))


def first_cells(preset: str, *overrides: str) -> list[GridCell]:
    """The first point of each axis that a preset varies, and all points along its axes of the data set."""
    body = yaml.safe_load(Path(CONF, "experiment", f"{preset}.yaml").read_text())
    axes = ((body.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
    first = [
        f"{key}={sweep_values(f'{key}={text}')[0]}" for key, text in axes.items() if not key.startswith("dataset.")
    ]
    return cells(preset, ["scale=smoke", *overrides, *first], strict=False)


def assert_gaps_are_named(actual: list[GridCell]) -> None:
    assert [cell.error for cell in actual] == [""] * len(actual)
    for cell in actual:
        assert cell.lacks or any(cell.config["metrics"].values()) or not cell.config.get("left_out"), (
            "nothing is left, and nobody says so"
        )


@pytest.mark.parametrize("preset", PRESETS)
def test_digits(preset):
    assert_gaps_are_named(first_cells(preset, "dataset=digits"))


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_every_cell_on_digits(preset):
    """The first cell of POMELO's paper could be built, the folder of its references was an error of the ninth."""
    assert_gaps_are_named(cells(preset, ["scale=smoke", "dataset=digits"], strict=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for split in ("train", "val", "test"):
        for name in ("apple", "pear"):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), (200, 30 * len(name), 90)).save(root / split / name / "1.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_folder_of_the_user_s(preset, folder):
    assert_gaps_are_named(first_cells(preset, "dataset=image_folder", f"dataset.root={folder}", "dataset.size_px=32"))


OF_PAPERS = {
    "celeba": ("pomelo", "dime", "gcd"),
    "celebamask_hq": ("pomelo", "dime", "gcd"),
    "imagenet": ("agarwal", "fisher"),
    "chexpert": ("gcd",),
}
MAKE = {
    "celeba": make_celeba,
    "celebamask_hq": make_celebamask_hq,
    "imagenet": make_imagenet,
    "chexpert": make_chexpert,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "preset"),
    [(data, p) for data, papers in OF_PAPERS.items() for p in PRESETS if p.partition("_")[0] in papers],
)
def test_the_data_of_the_papers(dataset, preset, tmp_path):
    root = MAKE[dataset](tmp_path / "files")
    given = [
        f"dataset={dataset}",
        f"dataset.root={root}",
        *([f"dataset.masks_root={root}"] if dataset == "celebamask_hq" else []),
    ]
    assert_gaps_are_named(first_cells(preset, *given))
