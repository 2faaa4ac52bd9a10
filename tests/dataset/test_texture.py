import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.dataset.texture import KINDS, Texture
from tests.dataset.contract import check_contract


@pytest.mark.parametrize("size_px", [1, 17, 64])
def test_contract(size_px):
    check_contract(Texture(size_px=size_px, n=13))


def test_it_offers_no_labels():
    texture = Texture(n=4)
    assert (
        texture.class_names == ()
        and (texture.batch(range(4)).label == -1).all()
        and Texture.features({}) == frozenset()
    )


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_every_kind_is_a_picture_with_structure(kind):
    image = Texture(size_px=64, n=60).batch(range(kind, 60, len(KINDS))).image
    assert image.flatten(1).std(1).min() > 0.02  # no blank image
    neighbours = (image[..., 1:] - image[..., :-1]).abs().mean()
    far = (image - image.flip(0)).abs().mean()
    assert neighbours < far / 2  # smooth beside white noise, and images differ


def test_a_larger_size_shows_the_same_picture():
    small, large = Texture(size_px=32, n=12).batch(range(12)).image, Texture(size_px=128, n=12).batch(range(12)).image
    assert (F.avg_pool2d(large, 4) - small).abs().mean() < 0.05


def test_splits_and_seeds_differ():
    images = [Texture().batch([0]), Texture().batch([6]), Texture(seed=1).batch([0]), Texture(split="val").batch([0])]
    assert len({batch.image.numpy().tobytes() for batch in images}) == 4
    assert (
        len({Texture(**given).digest() for given in ({}, {"seed": 1}, {"n": 7}, {"split": "train"}, {"size_px": 32})})
        == 5
    )


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    Texture(n=6).batch(range(6))
    assert torch.equal(before, torch.get_rng_state())
