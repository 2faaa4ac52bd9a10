"""POMELO's experiment in one command for each data set: what the presets resolve to, beside a list copied from the
paper."""

import pytest

from pomelo_lab.results.claim import pairs
from pomelo_lab.results.grid import cells
from pomelo_lab.results.report import load_report
from pomelo_lab.training.recipe import own_recipe
from pomelo_lab.training.trained import training_key
from tests.conf.test_presets import OF_FILES

CLASSIFIER = {"architecture": "resnet18", "output": "softmax", "weights": "auto"}  # section 4.1
RECIPE = {
    "optimizer": "adam",
    "lr": 1e-3,
    "batch_size": 4096,
    "epochs": 12,
    "min_steps": 0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup": 0.0,
    "shift_px": 0,
    "brightness": 0.0,
    "flip": 0.0,
    "n_train": None,
}
# section 4.1 and Table 3
LIME = {"n_samples": 800, "kernel_width": 0.25, "distance": "cosine", "alpha": 1.0, "standardize": False}
SLIC = {"n_segments": 35, "compactness": 10.0}  # Table 3
NAIVE = {"rate": 0.5}
SAMPLERS = {  # Table 3
    "flow_published": {"mu": 0.5, "sigma": 0.3},
    "ddim": {"eta": 0.4, "n_steps": 50, "start": 0, "n_encode": None, "depth": None},
    "inpaint_ddim": {"eta": 0.8, "n_steps": 50, "rate": 0.75},
    **{name: NAIVE for name in ("black", "gray", "mean", "blur")},
}
# of Dombrowski et al.
GLOW = {"n_flows": 32, "n_blocks": 4, "hidden": 512, "coupling": "additive", "n_bits": 5, "centered": False}


def has(node, wanted):
    return {key: node[key] for key in wanted} == wanted


def test_table_1():
    jobs = {cell.choices["sampler"]: cell.config for cell in cells("pomelo_paper", OF_FILES["pomelo_paper"])}
    assert {*SAMPLERS, "reference_val", "reference_cifar10", "reference_noise"} == set(jobs)
    for name, config in jobs.items():
        assert config["dataset"]["_target_"].endswith("CelebA") and has(
            config["dataset"], {"label": "hair_color", "size_px": 64, "split": "val"}
        )
        assert (
            config["n_images"] == 5000 and config["target"] == "predicted" and config["explainer"]["n_samples"] == 800
        )
        assert (
            has(config["classifier"], CLASSIFIER)
            and has(own_recipe(config["classifier"]), RECIPE)
            and has(config["segmenter"], SLIC)
        )
        assert has(config["sampler"], SAMPLERS.get(name, {}))
        metrics = config["metrics"]
        assert has(
            metrics["mahalanobis"], {"n_reference": 30_000, "n_per_image": 20, "covariance": "tied", "embedder": None}
        )
        assert has(metrics["silhouette"], {"n_points": 500, "space": "umap"}) and has(
            metrics["entropy_soft"], {"n_bins": 20}
        )
    assert has(jobs["flow_published"]["generator"], GLOW)
    assert has(jobs["ddim"]["generator"], {"schedule": "linear", "n_timesteps": 1000, "weights": "auto"})
    (named,) = cells(
        "pomelo_paper", [*OF_FILES["pomelo_paper"], "sampler=flow_published", "paths.published_glow=glow.pth"]
    )
    assert named.config["generator"]["weights"] == "glow.pth"


def test_table_2_has_the_same_networks():
    (first, *_) = cells("pomelo_paper", [*OF_FILES["pomelo_paper"], "sampler=ddim"])
    jobs = {cell.point["method"]: cell.config for cell in cells("pomelo_paper_hq", OF_FILES["pomelo_paper_hq"])}
    assert len(jobs) == 8
    for config in jobs.values():
        assert has(
            config["dataset"],
            {"frame": "hq", "masked_only": True, "train_frame": "aligned", "split": "val", "size_px": 64},
        )
        assert config["n_images"] == 5000 and has(config["segmenter"], SLIC)
        assert training_key(config["classifier"], config["dataset"]) == training_key(
            first.config["classifier"], first.config["dataset"]
        )
        metrics = config["metrics"]
        assert has(metrics["stability"], {"n_images": 80, "n_repeats": 5, "relative": False})
        assert has(metrics["deletion_inpaint"], {"step_px": 128, "bound": 0.5, "n_orders": 10, "n_images": None})
        assert has(metrics["deletion_blur"], {"step_px": 1, "bound": 0.5, "n_orders": 10})
    assert has(jobs["lime_ddim"]["explainer"], LIME) and has(jobs["lime_ddim"]["sampler"], SAMPLERS["ddim"])
    generator = jobs["lime_ddim"]["generator"]
    assert training_key(generator, jobs["lime_ddim"]["dataset"]) == training_key(
        first.config["generator"], first.config["dataset"]
    )


@pytest.mark.parametrize("table, like", [("pomelo_paper", "pomelo_table1"), ("pomelo_paper_hq", "pomelo_table2")])
def test_every_claim_of_the_paper_is_judged_on_its_own_data(table, like):
    own, portraits = load_report(table), load_report(like)
    assert {c.says for c in portraits.claims if c.section != "own"} == {
        c.says for c in own.claims if c.section != "own"
    }
    assert all(pairs(text, own) for claim in own.claims for text in claim.test)
    assert all(row.values or row.key == "reference_noise" for row in own.rows)


def test_portraits_tables_on_celeba_leave_out_what_only_portraits_have():
    grid_cells = cells(
        "pomelo_table1", ["dataset=celeba", "dataset.root=data", "scale=smoke", "sampler=gray,ideal,reference_val"]
    )
    assert {cell.choices["sampler"]: bool(cell.lacks) for cell in grid_cells} == {
        "gray": False,
        "ideal": True,
        "reference_val": False,
    }


@pytest.mark.parametrize("size_px", [32, 64, 128])
def test_lengths_in_pixels_grow_with_the_images(size_px):
    wide, soft = cells("pomelo_table1", ["scale=smoke", f"dataset.size_px={size_px}", "sampler=blur,inpaint_ddim"])
    assert wide.config["sampler"]["sigma_px"] == 5 * size_px / 64 and soft.config["sampler"]["sigma_px"] == size_px / 64
