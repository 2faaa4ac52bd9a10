"""Augmentation does what its options say, image by image."""

import torch

from pomelo_lab.training.augment import augment
from pomelo_lab.training.recipe import Recipe

OFF = {"flip": 0.0, "shift_px": 0, "brightness": 0.0}


def run(images, **options):
    return augment(images, Recipe(**{**OFF, **options}), torch.Generator().manual_seed(0))


IMAGES = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_nothing_on_changes_nothing():
    assert torch.equal(run(IMAGES), IMAGES)


def test_flip():
    assert torch.equal(run(IMAGES, flip=1.0), IMAGES.flip(-1))


def test_shift_moves_by_at_most_so_many_pixels_and_repeats_the_border():
    out = run(IMAGES, shift_px=2)
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2), mode="replicate")
    shifts = [(d, r) for d in range(5) for r in range(5)]
    hits = torch.stack([(padded[:, :, d : d + 8, r : r + 8] == out).flatten(1).all(1) for d, r in shifts])
    assert hits.any(0).all() and hits.any(1).sum() > 15


def test_brightness_stays_in_range():
    out = run(IMAGES, brightness=0.3)
    assert out.min() >= 0 and out.max() <= 1 and (out - IMAGES).abs().max() <= 0.3 + 1e-6
