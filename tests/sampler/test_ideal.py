import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.sampler.ideal import IdealSampler
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_batch

DATA = Portraits(size_px=32, n_val=40)
BATCH = DATA.batch([0, 5, 7])


def test_nothing_redrawn_is_the_image():
    perturbations = IdealSampler(dataset=DATA, p_change=0.0, keep_first=False).perturb(BATCH, None, 3, RandomStreams(0))
    assert torch.equal(perturbations.image, Perturbations.quantize(BATCH.image)[:, None].expand_as(perturbations.image))
    assert perturbations.keep_mask is None


def test_redrawing_hair_colour_changes_the_label_region_only():
    perturbations = IdealSampler(dataset=DATA, factors=["hair_color"], p_change=1.0).perturb(
        BATCH, None, 12, RandomStreams(0)
    )
    changed = (perturbations.image != perturbations.image[:, :1]).any(2)
    beardless = BATCH.factors["beard"] == 0  # a beard follows the hair colour in the causal model
    allowed = BATCH.masks["label"][:, None] | ~beardless[:, None, None, None]
    assert changed.any() and not (changed & ~allowed).any()


def test_pose_is_left_alone_by_default_and_groups_expand():
    names = IdealSampler(dataset=DATA).names
    assert "hair_color" in names and "background" in names and "tilt" not in names
    assert IdealSampler(dataset=DATA, factors=["pose", "hat"]).names == ("hat", "x", "y", "scale", "tilt")


def test_share_of_changed_values_is_p_change():
    sampler = IdealSampler(dataset=DATA, factors=["hair_light"], p_change=0.25, keep_first=False)
    hairy = BATCH.select([int(i) for i in (BATCH.factors["hair_color"] != 4).nonzero()[:1, 0]])
    perturbed_images = sampler.perturb(hairy, None, 300, RandomStreams(0)).image
    changed = (perturbed_images != Perturbations.quantize(hairy.image)[:, None]).flatten(2).any(2).float().mean()
    assert abs(float(changed) - 0.25) < 0.08  # 300 draws: 3 standard errors


def test_unknown_causes_are_named():
    with pytest.raises(
        ValueError, match="sampler.factors: 'hair_colour' is no cause of portraits, did you mean 'hair_color'"
    ):
        IdealSampler(dataset=DATA, factors=["hair_colour"])
    with pytest.raises(ValueError, match="needs dataset=portraits"):
        IdealSampler(dataset=DATA).perturb(tiny_batch(2), None, 2, RandomStreams(0))
