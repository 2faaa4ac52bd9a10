"""Presets on other data than their own: each row can be built, or is a gap with its reason; typed values stay
errors."""

import pytest

from pomelo_lab.config.check import ConfigError
from pomelo_lab.results.grid import cells
from pomelo_lab.results.method import matches
from pomelo_lab.results.report import load_report
from pomelo_lab.results.table import extra_rows
from tests.dataset.fixtures import make_chexpert


def on(preset, *overrides):
    return cells(preset, ["scale=smoke", *overrides])


def test_a_label_that_the_data_do_not_have_is_no_row_of_the_paper():
    """Digits never stand in the row of smiling people."""
    smiling, young = on("dime_table1", "dataset=digits", "method=dime")
    assert (smiling.lacks, young.lacks) == ("", "Digits has no label: dataset.label=Young")
    assert smiling.config["left_out"]["dataset.label"] == "Digits has no label"
    assert not any(matches(smiling, row) for row in load_report("dime_table1").rows)
    assert "Smiling" not in extra_rows([smiling])[0].label


def test_a_label_of_another_name_gives_way_to_the_data_sets_own(tmp_path):
    root = f"dataset.root={make_chexpert(tmp_path)}"
    (cell,) = on("dime_table2", "dataset=chexpert", root, "method=dime")
    assert cell.config["dataset"]["label"] == "Pleural Effusion"
    assert cell.config["left_out"]["dataset.label"] == "CheXpert has no label Smiling"
    with pytest.raises(ConfigError, match="dataset.label must be one of"):
        on("dime_table2", "dataset=chexpert", root, "method=dime", "dataset.label=Smiling")


def test_a_typed_label_stays_an_error():
    with pytest.raises(ConfigError, match="dataset.label is unknown to Digits; it takes split"):
        on("dime_table1", "dataset=digits", "dataset.label=Smiling", "method=dime")


def test_files_that_a_preset_leaves_to_the_user_are_an_error_on_its_data_and_a_gap_on_others():
    with pytest.raises(ConfigError, match="explainer.perceptual.weights is missing: expected"):
        on("dime_paper", "dataset.root=data", "classifier.weights=null", "method=dime", "dataset.label=Smiling")
    cell = on("dime_paper_ablation", "dataset=digits", "method=dime")[0]
    assert cell.error == "" and "needs explainer.perceptual.weights=<path>" in cell.lacks
    assert cell.config["left_out"]["metrics.fid_plus"].startswith("needs metrics.fid_plus.weights=<path>")
