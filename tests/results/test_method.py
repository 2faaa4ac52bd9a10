"""Which method a cell of a grid is of: by the name that the grid chose, else by what it is made of."""

import pytest

from pomelo_lab.config.entry import rename_row_group
from pomelo_lab.results.grid import cells
from pomelo_lab.results.method import is_built, load_methods, matches, method_names
from pomelo_lab.results.report import Column, Report, Row
from pomelo_lab.results.table import build
from tests.results.fake import FakeCell


def names(method=None, sampler="none", explainer="none", **settings):
    choices = {"sampler": sampler, "explainer": explainer} | ({"method": method} if method else {})
    return method_names(FakeCell(choices, config={"explainer": settings}))


def test_the_method_of_a_grid_is_its_name():
    assert names("lime_gray", "gray", "lime") == ("lime_gray",)
    assert names("mine_of_a_config_folder", "gray", "lime") == ("mine_of_a_config_folder",)


def test_a_method_whose_components_were_changed_is_another():
    assert "lime_noise" in names("lime_blur", "noise", "lime") and "lime_blur" not in names(
        "lime_blur", "noise", "lime"
    )
    assert names("dime", "gray", "dime") == ("dime",), "a sampler that nobody uses"


def test_grids_over_components_have_the_method_that_describes_them_most_closely():
    assert names(sampler="black") == ("black",)
    assert names(sampler="red") == ("red",) and names(sampler="red", explainer="lime") == ("lime/red",)
    assert "random" in names(explainer="random", level="segment")
    assert "random" not in names(explainer="random", level="pixel")[:1] and "random_pixel" in names(
        explainer="random", level="pixel"
    )


def test_a_row_is_found_by_its_method_at_its_point_of_the_grid():
    cell = FakeCell({"method": "gcd_lambda", "explainer": "gcd"}, point={"explainer.source": "1"})
    assert matches(cell, Row("all", "", "gcd_lambda")) and not matches(cell, Row("best", "", "gcd_best"))
    assert matches(cell, Row("s1", "", "gcd_lambda", point={"explainer.source": 1}))
    assert not matches(cell, Row("s0", "", "gcd_lambda", point={"explainer.source": 0}))
    assert matches(cell, Row("s1", "", point={"explainer.source": 1})) and not matches(cell, Row("paper", ""))


def test_methods_of_the_paper_alone_are_not_built():
    assert [is_built(Row(name, "", name)) for name in ("lime_gray", "black", "iba", "dive_100")] == [True] * 3 + [False]
    assert is_built(Row("eta", "", point={"sampler.eta": 0.4})) and not is_built(Row("printed", ""))


def test_methods_of_a_users_folder_are_rows(tmp_path):
    """A file of theirs may extend one of ours."""
    for group in ("method", "sampler"):
        (tmp_path / group).mkdir()
    (tmp_path / "sampler" / "median.yaml").write_text("_target_: my_fillers.Median\n")
    (tmp_path / "method" / "lime_median.yaml").write_text(
        "defaults:\n  - lime_blur\n  - override /sampler: median\nexplainer: {n_samples: 9}\n"
    )
    folders, settings = (str(tmp_path),), {"n_samples": 9}
    cell = FakeCell({"sampler": "median", "explainer": "lime"}, config={"explainer": settings}, folders=folders)
    assert method_names(cell) == ("lime_median", "lime/median")
    rows = [Row(name, name, name) for name in ("median", "lime_median", "mean_of_nobody")]
    assert [is_built(row, folders) for row in rows] == [True, True, False] and not any(map(is_built, rows))
    other = FakeCell({"sampler": "gray", "explainer": "none"}, {"l2": [1.0, 2.0]}, folders=folders)
    report = Report("t", "", "", columns=(Column("l2", "L2"),), rows=tuple(rows))
    notes = build(report, [other], [f"hydra.searchpath=[file://{tmp_path}]"]).notes()
    assert "not in this version (–): mean_of_nobody" in notes


def test_files_extend_each_other():
    method = load_methods()["dime_unconditional_all"]
    assert (method.explainer, method.settings) == ("dime", {"explainer.variant": "unconditional"})


@pytest.mark.parametrize("text", ["row=sp,lime", "method=sp,lime"])
def test_the_group_s_former_name_still_works(text):
    made = cells("agarwal_table2", ["scale=smoke", text])
    assert [cell.point for cell in made] == [{"method": "sp"}, {"method": "lime"}]


def test_only_the_group_is_renamed():
    assert rename_row_group(["row=a", "+row=a", "~row", "arrow=1", "explainer.row=2"]) == [
        "method=a",
        "+method=a",
        "~method",
        "arrow=1",
        "explainer.row=2",
    ]
