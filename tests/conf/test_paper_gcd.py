"""The presets of Sobieski & Biecek's experiments resolve to what paper and code state, and say which files they
need."""

import pytest

from pomelo_lab.results.grid import cells
from pomelo_lab.results.marks import control_of
from pomelo_lab.results.method import is_built, matches
from pomelo_lab.results.report import load_report

FILES = ["dataset.root=data", "classifier.weights=weights.pth", "explainer.lpips=vgg16.pth"]
OF = {
    "gcd_paper": [],
    "gcd_paper_hq": ["dataset.masks_root=masks", "generator.weights=ffhq.safetensors"],
    "gcd_paper_chexpert": [],
}
# rounds of 8 batches
RENDERS = {"gcd_paper": 50 * 8 * 512, "gcd_paper_hq": 52 * 8 * 128, "gcd_paper_chexpert": 84 * 8 * 128}
NETWORK = {"gcd_paper_chexpert": "densenet264"}
SIDE = {"gcd_paper": 128, "gcd_paper_hq": 256, "gcd_paper_chexpert": 224}
DIRECTIONS = {"gcd_paper": 30, "gcd_paper_hq": 6, "gcd_paper_chexpert": 6}


@pytest.mark.parametrize("preset", OF)
def test_the_preset_is_the_paper_s_experiment(preset):
    """Their code (sobieskibj/gcd, d540f77): a search per data set, LPIPS, 250 steps to noise, 100 back, 128 steps in
    [-3, 3]."""
    cell = cells(preset, [*FILES, *OF[preset]])[0]
    explainer, config = cell.config["explainer"], cell.config
    assert config["dataset"]["size_px"] == SIDE[preset] and config["classifier"]["architecture"] == NETWORK.get(
        preset, "densenet121"
    )
    assert config["classifier"]["normalization"] == "half" and config["classifier"]["column"] is not None
    stated = {
        "n_renders": RENDERS[preset],
        "n_invert": 250,
        "n_render": 100,
        "published_grid": True,
        "fixed_point": 0,
        "radius": 1.0,
    }
    stated |= {
        "sampling": "uniform_radius",
        "n_alphas": 64,
        "reach": 3.0,
        "both_sides": True,
        "random_flips": None,
        "hessian": "class",
    }
    stated |= {
        "n_h": DIRECTIONS[preset],
        "loss_weights": [0.05, 1.0],
        "g_weights": [[1.0, 0.0], [0.05, 1.0]],
        "source": 0,
        "goal": None,
    }
    assert {name: explainer[name] for name in stated} == stated
    proxy = {
        "widths": [256, 128, 64],
        "activation": "sigmoid",
        "lr": 1e-3,
        "weight_decay": 0.01,
        "batch": 128,
        "n_epochs": 1024,
    }
    proxy |= {"patience": 5, "least_steps": 0, "weights": [1.0, 3.0], "standardize": False}
    assert {name: explainer["proxy"][name] for name in proxy} == proxy
    generator = config["generator"]
    assert generator["code"] == 512 and generator["conditioning"] == "adagn" and generator["n_timesteps"] == 1000
    wide = [128, 128, 256, 256, 512, 512] if preset == "gcd_paper_hq" else [128, 128, 256, 384, 512]
    assert generator["widths"] == wide and generator["encoder_widths"] == [*wide, 512]


@pytest.mark.parametrize("preset", OF)
@pytest.mark.parametrize("key", ["dataset.root", "explainer.lpips"])
def test_the_data_and_lpips_are_asked_for_by_name(preset, key):
    """Before anything is rendered: without LPIPS the published weights and the proxy's sigmoid would mean something
    else."""
    with pytest.raises(Exception, match=rf"{key.partition('.')[0]}\..*{key.partition('.')[2]}"):
        cells(preset, [text for text in [*FILES, *OF[preset]] if not text.startswith(key)])


@pytest.mark.parametrize("preset", OF)
def test_every_row_with_scores_is_made_and_directions_have_to_beat_random_ones(preset):
    table, made = load_report(preset), cells(preset, [*FILES, *OF[preset]])
    for row in table.rows:
        assert not is_built(row) or any(matches(job, row) for job in made), row.key
        if row.key.startswith("gcd"):
            control = table.row(control_of(table, row).row)
            assert control is not None and any(matches(job, control) for job in made)


def test_the_classifier_s_outputs_of_celeba_hq():
    """STEEX's file has three outputs: male, smile, young."""
    made = cells("gcd_paper_hq", [*FILES, *OF["gcd_paper_hq"]])
    assert {(job.config["dataset"]["label"], job.config["classifier"]["column"]) for job in made} == {
        ("Smiling", 1),
        ("Young", 2),
    }
