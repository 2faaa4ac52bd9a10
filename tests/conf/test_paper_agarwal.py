"""Agarwal & Nguyen's experiments at the paper's scale: what the presets resolve to, beside a list copied from the
paper."""

import pytest

from pomelo_lab.config.tree import value_at
from pomelo_lab.results.grid import cells

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
    row = (
        "sampler=mean_dataset"
        if preset in ("agarwal_table1", "agarwal_fig7")
        else "method=lime_seeds"
        if preset == "agarwal_tableS1"
        else "method=lime"
    )
    (cell,) = cells(preset, ["scale=paper", row, *(["segmenter.n_segments=50"] if preset == "agarwal_tableS1" else [])])
    assert cell.config["n_images"] == SIZES[preset] and cell.config["target"] == "label"
    # Inception-v3 is right on 92.3 % of the birds
    assert cell.config["images"] == ("all" if preset == "agarwal_table1" else "correct")


@pytest.mark.parametrize("scale, sigma_px", [("paper", pytest.approx(10 * 64 / 224)), ("quick", 3.0)])
def test_table_1_blurs_as_meaningful_perturbations_do(scale, sigma_px):
    """The paper has one radius of blur, 10 of 224 pixels; portraits have 64."""
    (blur,) = cells("agarwal_table1", [f"scale={scale}", "sampler=blur_removal"])
    (mp,) = cells("agarwal_table2", [f"scale={scale}", "method=mp"])
    assert blur.config["sampler"]["sigma_px"] == mp.config["sampler"]["sigma_px"] == sigma_px


# at 224 pixels as printed, at 64 in proportion: a mask of 28 cells had cells of 2.3 pixels there, a patch of 29 half of
# the image
LENGTHS = {
    ("fido_ca", "scale.removal_blur_px"): (10.0, pytest.approx(2.857, abs=1e-3)),
    ("sp", "explainer.patch_px"): (29, 8),
    ("sp", "explainer.stride_px"): (3, 1),
    ("mp", "explainer.mask_px"): (28, 8),
    ("sp_sizes", "metrics.sensitivity_ssim.settings"): ([5, 17, 29, 41, 53], [1, 5, 8, 12, 15]),
    ("mp2_sizes", "metrics.sensitivity_ssim.settings"): ([28, 56, 112], [8, 16, 32]),
    ("fido_ca", "metrics.insertion_rise.filler.sigma_px"): (5.0, pytest.approx(1.429, abs=1e-3)),
    ("fido_ca", "metrics.insertion_rise.filler.radius_px"): (5, 1),
    ("fido_ca", "metrics.deletion_rise.step_px"): (1792, 512),
    ("fido_ca", "metrics.outside_change.patch_px"): (53, 15),
    ("fido_ca", "metrics.sensitivity_hog.cell_px"): (16, 5),
    ("fido_ca", "explainer.mask_px"): (56, 16),
}


@pytest.mark.parametrize(("size_px", "place"), [(224, 0), (64, 1)])
def test_the_paper_s_lengths_are_shares_of_the_side(size_px, place):
    given = [f"method={','.join(dict.fromkeys(method for method, _ in LENGTHS))}", f"dataset.size_px={size_px}"]
    made = cells("agarwal_table2", ["scale=paper", "metrics=[rise_games,outside,sensitivity]", *given])
    configs = {cell.choices["method"]: cell.config for cell in made}
    lengths = {(method, key): value_at(configs[method], key) for method, key in LENGTHS}
    assert lengths == {name: pair[place] for name, pair in LENGTHS.items()}


@pytest.mark.parametrize(("size_px", "dilation_px"), [(128, 15), (256, 15), (64, 7)])
def test_the_filter_of_ace_is_as_its_authors_have_it_at_both_sides(size_px, dilation_px):
    (cell,) = cells(
        "gcd_table1", ["scale=paper", "method=ace_l1", "dataset.label=Smiling", f"dataset.size_px={size_px}"]
    )
    assert cell.config["explainer"]["dilation_px"] == dilation_px


FILES = ["dataset.root=data", "classifier.weights=null"]


def resolved(preset, *given):
    """The one job of a preset at a point of its grid."""
    (cell,) = cells(preset, [*FILES, *given])
    return cell.config


def values(node, **expected):
    """Whether a node has the values, each by its last key."""
    for key, value in expected.items():
        assert node[key] == value, (key, node[key], value)


ROWS = {  # section 3, appendix A1; explainer, then sampler
    "sp": (
        {"patch_px": 29, "stride_px": 3, "align": "stretch"},
        {"_target_": "pomelo_lab.sampler.mean_dataset.MeanDatasetSampler"},
    ),
    "lime": (
        {"n_samples": 1000, "kernel_width": 0.25},
        {"_target_": "pomelo_lab.sampler.mean_dataset.MeanDatasetSampler"},
    ),
    "mp": (
        {"mask_px": 28, "n_steps": 300, "lr": 0.1, "l1": 1e-4, "tv": 1e-2, "tv_power": 3.0, "init": "uniform"},
        {"sigma_px": 10.0},
    ),
    "mp2": (
        {"mask_px": 28, "n_per_step": 2, "rank": "norm", "heat": "binary", "chance": None, "probe_every": 1},
        {"sigma_px": 10.0},
    ),
    "mp2_g": (
        {"mask_px": 28, "rank": "norm", "heat": "binary", "probe": "current"},
        {"_target_": "pomelo_lab.sampler.inpaint.InpaintSampler"},
    ),
    "fido_ca": (
        {"mask_px": 56, "lr": 0.05, "penalty": 1e-3, "objective": "ssr"},
        {"_target_": "pomelo_lab.sampler.inpaint.InpaintSampler"},
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_paper_s_experiment_in_one_command(row):
    config, (explainer, sampler) = resolved("agarwal_paper", f"method={row}"), ROWS[row]
    values(config, n_images=3000, images="correct", target="label")
    values(config["classifier"], architecture="resnet50")
    values(config["dataset"], _target_="pomelo_lab.dataset.imagenet.ImageNet", resize_px=256, size_px=224, boxes=True)
    values(config["segmenter"], n_segments=50)
    values(config["explainer"], **explainer)
    values(config["sampler"], **sampler)
    values(config["metrics"]["localization"], n_alphas=20, iou=0.5, alpha=None)
    assert config["metrics"]["localization"]["held_out"] == pytest.approx(1 / 3, abs=1e-3)
    values(config["metrics"]["deletion_rise"], n_images=2000, step_px=224 * 8)
    values(config["metrics"]["insertion_rise"]["filler"], sigma_px=5.0, radius_px=5)  # RISE: gkern(11, 5)
    values(config["metrics"]["saliency"], smallest_area=0.05)
    if row in ("mp2_g", "fido_ca"):  # DeepFill-v1: contextual attention, a coarse and a fine stage, no folded pixels
        values(config["generator"], attention=True, unshuffle=1, n_down=2, dilations=[2, 4, 8, 16])


def test_places365_differs_in_its_data_and_in_the_chance_at_which_mp2_stops():
    config = resolved("agarwal_paper_places", "method=mp2")
    values(config["dataset"], _target_="pomelo_lab.dataset.places365.Places365", size_px=224)
    assert (
        config["explainer"]["chance"] == 0.003
        and config["n_images"] == 3000
        and "localization" not in config["metrics"]
    )


def test_birds_are_judged_by_inception():
    config = resolved("agarwal_paper_removal", "metrics.removal_accuracy.judge.weights=null", "sampler=blur_removal")
    judge = config["metrics"]["removal_accuracy"]["judge"]
    values(judge, architecture="inception_v3", normalization="auto", output="softmax")
    assert config["n_images"] == 1000 and config["images"] == "all" and config["sampler"]["sigma_px"] == 10.0
    birds = config["dataset"]["only_classes"]
    assert len(birds) == len(set(birds)) == 59 and min(birds) == 7 and max(birds) == 146


@pytest.mark.parametrize(
    ("row", "key", "settings"),
    [
        ("sp_sizes", "explainer.patch_px", [5, 17, 29, 41, 53]),
        ("lime_g_seeds", "seed", [0, 1, 2, 3, 4]),
        ("mp2_g_sizes", "explainer.mask_px", [28, 56, 112]),
    ],
)
def test_sensitivity_has_the_paper_s_settings(row, key, settings):
    config = resolved("agarwal_paper_sensitivity", f"method={row}", "segmenter.n_segments=150")
    for name in ("sensitivity_ssim", "sensitivity_hog", "sensitivity_spearman", "sensitivity_ssim_authors"):
        values(config["metrics"][name], key=key, settings=settings)
    values(config["metrics"]["sensitivity_ssim_authors"], win_size=5, data_range=1.0 if row.startswith("mp2") else 2.0)
    assert config["n_images"] == 1000 and (not row.startswith("lime") or config["explainer"]["n_samples"] == 500)
