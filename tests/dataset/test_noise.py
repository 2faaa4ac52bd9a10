import pytest
import torch

from pomelo_lab.dataset.noise import Noise
from tests.dataset.contract import check_contract


@pytest.mark.parametrize("channels", [1, 3])
def test_contract(channels):
    check_contract(Noise(size_px=16, n=10, channels=channels))


def test_it_offers_no_labels():
    noise = Noise(size_px=8, n=4)
    assert noise.class_names == () and noise.num_classes == 0 and (noise.batch(range(4)).label == -1).all()
    assert Noise.features({}) == frozenset()


def test_moments_of_an_unclipped_setting():
    image = Noise(size_px=64, mean=0.4, sigma=0.1, n=20).batch(range(20)).image.double()
    # 245760 values: standard error of the mean 2e-4; +-4 sigma are never clipped; rounding adds (1/255)^2/12 to the
    # variance
    assert image.mean() == pytest.approx(0.4, abs=1e-3)
    assert image.std() == pytest.approx(0.1, abs=1e-3)


def test_splits_seeds_and_indices_differ():
    first, second = Noise(size_px=16).batch([0, 1]).image
    others = [Noise(size_px=16, **given).batch([0]).image for given in ({"seed": 1}, {"split": "val"})]
    assert len({image.numpy().tobytes() for image in (first, second, *others)}) == 4
    assert Noise(n=5).digest() != Noise(n=6).digest() != Noise(n=6, sigma=0.2).digest()


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    Noise(size_px=8, n=2).batch([0, 1])
    assert torch.equal(before, torch.get_rng_state())


def test_zero_sigma_is_flat():
    assert (Noise(size_px=4, sigma=0.0, mean=1.0, n=1).batch([0]).image == 1).all()
