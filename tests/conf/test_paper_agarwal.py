"""Agarwal & Nguyen's experiments at the paper's scale: what the presets resolve to, beside a list copied from the paper."""

import pytest

from pomelo_lab.results.preset import cells

SIZES = {  # images that the paper scores; tables with thresholds have 1,000 more that choose them
    "agarwal_table1": 1000,
    "agarwal_table2": 3000,
    "agarwal_table3": 2000,
    "agarwal_table4": 3000,
    "agarwal_tableS1": 1000,
    "agarwal_fig7": 1000,
    "agarwal_fig8": 200,
}


@pytest.mark.parametrize("preset", SIZES)
def test_presets_have_the_paper_s_images(preset):
    row = "sampler=none" if preset in ("agarwal_table1", "agarwal_fig7") else "row=lime_seeds" if preset == "agarwal_tableS1" else "row=lime"
    (cell,) = cells(preset, ["scale=paper", row, *(["segmenter.n_segments=50"] if preset == "agarwal_tableS1" else [])])
    assert cell.config["n_images"] == SIZES[preset] and cell.config["images"] == "correct" and cell.config["target"] == "label"


@pytest.mark.parametrize("scale, sigma_px", [("paper", 10.0), ("quick", 3.0)])
def test_table_1_blurs_as_meaningful_perturbations_do(scale, sigma_px):
    """The paper has one radius of blur, 10 of 224 pixels."""
    (blur,) = cells("agarwal_table1", [f"scale={scale}", "sampler=blur_removal"])
    (mp,) = cells("agarwal_table2", [f"scale={scale}", "row=mp"])
    assert blur.config["sampler"]["sigma_px"] == mp.config["sampler"]["sigma_px"] == sigma_px
