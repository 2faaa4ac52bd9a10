"""The cells of a grid on data that cannot build all of them."""

import pytest

from pomelo_lab.results.grid import cells
from pomelo_lab.results.status import show
from tests.dataset.fixtures import make_celeba


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    return ["scale=smoke", "dataset=celeba", f"dataset.root={make_celeba(tmp_path_factory.mktemp('celeba'))}"]


def test_rows_that_need_portraits_are_skipped_with_the_reason(celeba):
    black, ideal, mask = cells("pomelo_table2", [*celeba, "method=lime_black,lime_ideal,ideal_mask"])
    assert (black.state, black.lacks) == ("missing", "")
    assert black.config["left_out"] == dict.fromkeys(
        ("metrics.iou", "metrics.emr", "metrics.emp"), "needs masks, CelebA has none"
    )
    assert (ideal.state, ideal.lacks, ideal.folder, ideal.summary) == (
        "skipped",
        "needs Portraits, not CelebA",
        None,
        {},
    )
    assert mask.lacks == "needs masks, CelebA has none"


def test_counterfactuals_of_photographs_have_no_rendered_limit(celeba):
    made = cells("dime_table1", [*celeba, "method=dime,ideal_counterfactual", "dataset.label=Smiling"])
    assert [c.lacks for c in made] == ["", "needs Portraits, not CelebA"]


def test_status_counts_only_what_can_be_built(celeba, capsys):
    assert not show("pomelo_table1", [*celeba, "sampler=gray,ideal"])
    text = capsys.readouterr().out
    assert "1 missing, 1 skipped" in text and "needs Portraits, not CelebA" in text
    assert show("pomelo_table1", [*celeba, "sampler=ideal"]), "nothing that could be built is missing"


def test_components_from_a_users_folder_are_cells(tmp_path):
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "red.yaml").write_text("_target_: pomelo_lab.sampler.black.BlackSampler\n")
    (red,) = cells("pomelo_table1", [f"hydra.searchpath=[file://{tmp_path}]", "sampler=red", "scale=smoke"])
    assert red.choices["sampler"] == "red" and red.config["sampler"]["_target_"].endswith("BlackSampler")


def test_globs_and_quoted_values_are_what_they_stand_for():
    """A glob of a group, and a text in quotes, as `did you mean` tells users to type it."""
    made = cells("", ["scale=smoke", "sampler=glob(m*)", 'images="all","correct"'])
    assert {cell.point["sampler"] for cell in made} == {"mean", "mean_dataset"} and len(made) == 4
    assert {cell.point["images"] for cell in made} == {"all", "correct"}
