"""`import pomelo_lab as pl` in a notebook: configs, jobs and explanations of a session's own models and images."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import pomelo_lab as pl
from pomelo_lab.config.check import ConfigError
from pomelo_lab.dataset.digits import Digits
from pomelo_lab.held import HeldImages, hold_images
from tests.every import brightness
from tests.running import ROOT, TINY, scores

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FAST = ("segmenter=grid", "segmenter.n_segments=4", "explainer.n_samples=20")


def corner(images):
    """Two classes: how bright the upper left quadrant is."""
    share = images[:, :, : images.shape[-2] // 2, : images.shape[-1] // 2].mean((1, 2, 3))
    return torch.stack([share, 1 - share], 1)


def test_the_package_is_imported_at_once():
    code = "import sys, pomelo_lab; print(sorted({'torch', 'hydra', 'numpy', 'wandb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
    with pytest.raises(AttributeError, match="explane"):
        pl.explane  # noqa: B018


def test_a_config_is_that_of_the_command_line_and_errors_say_what_to_type():
    config = pl.configured("explainer=rise", "scale=smoke", "explainer.p_keep=0.25")
    assert config["explainer"]["p_keep"] == 0.25
    with pytest.raises(ConfigError, match="did you mean 'lime'"):
        pl.configured("explainer=lyme")
    with pytest.raises(ConfigError, match="p_keep"):
        pl.configured("explainer=rise", "explainer.p_keep=2")


def test_a_job_runs_and_gives_its_scores(tmp_path):
    done = pl.run(*TINY, "n_images=3", f"paths.outputs={tmp_path}")
    assert done.scores == scores(done.folder) and len(done.scores["image_id"]) == 3
    assert set(done.summary) <= set(done.scores)
    read = done.explained
    assert read.target.tolist() == done.scores["target"] and read.attribution.shape == read.images.shape[:1] + (16, 16)
    assert all(read.scores[key].tolist() == done.scores[key] for key in read.scores)
    with pytest.raises(ValueError, match="dry_run"):
        pl.run(*TINY, "dry_run=true", f"paths.outputs={tmp_path}")


def test_a_function_is_explained_where_it_looks():
    made = pl.explain(corner, IMAGES, "lime", *FAST, "sampler=black", target=0)
    assert made.attribution.shape == (3, 16, 16) and torch.equal(made.target, torch.zeros(3, dtype=torch.long))
    assert torch.allclose(made.probability, corner(IMAGES), atol=1e-6)
    inside = made.attribution[:, :8, :8].abs().mean((1, 2))
    assert (inside > 10 * made.attribution[:, 8:].abs().mean((1, 2))).all()


def test_occlusion_is_the_drop_of_the_function_s_answer():
    patch = ("explainer.patch_px=8", "explainer.stride_px=8", "explainer.align=cover")
    made = pl.explain(corner, IMAGES, "sliding_patch", *patch, "sampler=black")
    target = corner(IMAGES).argmax(1)
    hidden = IMAGES.clone()
    hidden[:, :, :8, :8] = 0
    fall = (corner(IMAGES) - corner(hidden)).gather(1, target[:, None])[:, 0]
    assert torch.allclose(made.attribution[:, 0, 0], fall, atol=1e-6)


def test_targets_of_each_image_and_scores():
    made = pl.explain(brightness, IMAGES, "lime", *FAST, "metrics=fidelity", target=[2, 0, 5])
    assert made.target.tolist() == [2, 0, 5]
    assert made.scores and all(len(value) == 3 for value in made.scores.values())


def test_pil_images_are_the_tensor_s(tmp_path):
    pixels = Digits(size_px=16).batch([0, 1]).image
    pictures = [Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)) for image in pixels]
    one, other = (pl.explain(corner, images, "lime", *FAST, target=1) for images in (pixels, pictures))
    assert torch.allclose(one.attribution, other.attribution, atol=1e-5)
    folder = one.save(tmp_path / "mine")
    assert np.array_equal(np.load(folder / "attribution.npy"), one.attribution.numpy())
    assert json.loads((folder / "scores.json").read_text()) == {}
    assert Image.open(folder / "sheet.png").size[0] > 100


def picture(side):
    return Image.fromarray(np.zeros((side, side, 3), np.uint8))


def test_a_function_that_changes_its_images_changes_no_one_else_s():
    def darkened(images):
        return corner(images.mul_(0.5))

    images = IMAGES.clone()
    made = pl.explain(darkened, images, "lime", *FAST, "sampler=black", target=0)
    assert torch.equal(images, IMAGES) and torch.equal(made.images, IMAGES)
    assert torch.allclose(made.probability, corner(IMAGES / 2), atol=1e-6)


def test_an_image_s_map_does_not_depend_on_its_place():
    words = ("lime", *FAST, "sampler=black")
    one, other = (pl.explain(corner, images, *words, target=0).attribution for images in (IMAGES, IMAGES.flip(0)))
    assert torch.allclose(one, other.flip(0), atol=1e-6)


def test_a_model_that_answers_probabilities_is_told(caplog):
    pl.explain(torch.nn.Sequential(Quadrant(), torch.nn.Softmax(1)), IMAGES, "lime", *FAST)
    assert "numbers that sum to 1, like probabilities" in caplog.text


def test_wrong_input_is_one_clear_line():
    for wrong, told in (
        (lambda: pl.explain(corner, IMAGES[0]), r"images must be \[B,C,H,W\] with 1 or 3 channels, got \[3, 16, 16\]"),
        (lambda: pl.explain(corner, IMAGES * 2), "images: expected finite images"),
        (lambda: pl.explain(corner, [picture(8), picture(9)]), "images must have one size"),
        (lambda: pl.explain(corner, [picture(8).convert("RGBA")]), "without transparency, got RGBA at 0"),
        (lambda: pl.explain(corner, IMAGES.numpy()), "images must be a tensor .* got ndarray"),
        (lambda: pl.explain("resnet18", IMAGES), "model must be a torch module or a function of images"),
        (lambda: pl.explain(corner, IMAGES, "none"), "method must explain"),
        (lambda: pl.explain(corner, IMAGES, "lime", "dataset=digits"), "dataset= is an argument of pl.explain"),
        (lambda: pl.explain(corner, IMAGES, target=2), "target must be from 0 to 1, got 2"),
        (lambda: pl.explain(corner, IMAGES, target=-1), "target must be from 0 to 1, got -1"),
        (lambda: pl.explain(corner, IMAGES, target=[0, 1]), "one for each of the 3 images"),
        (lambda: pl.explain(corner, IMAGES, "saliency"), "black box"),
        (lambda: HeldImages(name=hold_images(IMAGES), split="train").batch([0]), "pass reference="),
        (lambda: pl.explain(corner, IMAGES, "lyme"), "did you mean 'lime'"),
    ):
        with pytest.raises((ValueError, ConfigError), match=told):
            wrong()


class Quadrant(torch.nn.Module):
    """A network whose second logit is the brightness of the upper left quadrant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 2)
        with torch.no_grad():
            self.conv.weight.fill_(0.1)
            self.conv.bias.zero_()
            self.head.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
            self.head.bias.copy_(torch.tensor([0.0, -3.0]))  # so that the answer is not saturated

    def forward(self, images):
        maps = self.conv(images).relu()
        return self.head(maps[..., : maps.shape[-2] // 2, : maps.shape[-1] // 2].mean((2, 3)))


WORDS = {"lime": ("explainer.n_samples=200",), "rise": ("explainer.n_masks=400", "explainer.n_cells=4")}


@pytest.mark.parametrize(
    ("method", "times"), [("lime", 5), ("saliency", 100), ("integrated_gradients", 100), ("rise", 1.5)]
)
def test_a_module_is_explained_where_it_looks(method, times):
    """Mean attribution inside the quadrant, as a multiple of that outside: smooth masks of RISE reach over its edge."""
    grid = ("segmenter=grid", "segmenter.n_segments=16", "sampler=black")
    made = pl.explain(Quadrant(), IMAGES, method, *grid, *WORDS.get(method, ()), target=1)
    assert torch.allclose(made.probability, Quadrant()(IMAGES).softmax(1), atol=1e-5)
    outside = torch.ones(16, 16, dtype=torch.bool)
    outside[:9, :9] = False  # a pixel beyond the edge is seen by the convolution
    attribution = made.attribution.abs() if method != "rise" else made.attribution - made.attribution.amin((1, 2), True)
    assert (attribution[:, ~outside].mean(1) > times * attribution[:, outside].mean(1)).all()


def test_a_module_s_images_are_resized_inside_and_its_map_is_not():
    made = pl.explain(Quadrant(), IMAGES, "saliency", "classifier.input_px=32", target=1)
    assert made.attribution.shape == (3, 16, 16)
