"""Training of wavelet flows: components measured first, and fewer bits."""

import pytest
import torch

from pomelo_lab.generator.wavelet_flow import WaveletFlow
from tests.generator import toy
from tests.tiny import tiny_image

TINY = {
    "channels": 1,
    "size_px": 8,
    "widths": [4],
    "hidden": [4],
    "n_couplings": 1,
    "n_leading": 4,
    "coarse_hidden": 8,
    "coarse_couplings": 2,
    "shares": [0.5],
    "temperature": [1.0, 1.0],
}


def tiny(**changes):
    return WaveletFlow(**{**TINY, **changes})


def test_components_are_those_of_all_training_images_before_the_first_step(tmp_path):
    generator, seen = tiny(), []

    def watch(module):
        step = module.training_step

        def training_step(*given):
            seen.append(module.network.coarse.whitening.axes.clone())
            return step(*given)

        module.training_step = training_step

    module = toy.run_training(generator, tmp_path, watch, epochs=1, ema=0.9)
    values = module.coarsest_images()
    expected = values.double().T.cov()
    whitening = generator.network.coarse.whitening
    white = whitening(values)[0]
    assert len(values) == 32 and all(torch.equal(axes, whitening.axes) for axes in seen)
    leading = whitening.axes[:, 0].double()
    assert float(leading @ expected @ leading) == pytest.approx(float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-3)
    assert float(white[:, 0].std()) == pytest.approx(1, abs=0.05)


def test_training_lowers_the_bits_and_keeps_the_flow_invertible(tmp_path):
    generator = tiny()
    module = toy.run_training(generator, tmp_path, epochs=20, lr=1e-2, ema=0.5)
    bits = [row["val_bits_per_value"] for row in toy.rows(tmp_path)]
    assert module.report["bits_per_value"] < bits[0] - 0.05
    images = tiny_image(3, (1, 8, 8))
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)


def test_a_training_that_ends_early_is_the_first_steps_of_the_whole_one(tmp_path):
    """The schedule is the whole one's, so its weights after as many steps are the same; nothing is left to do when it
    is resumed."""
    after = toy.averaged(tiny(), tmp_path / "whole", schedule="cosine")[1]
    module = toy.run_training(tiny(), tmp_path / "short", schedule="cosine", until=6)
    assert module.total_steps == 16 and len(after) == 16
    assert all(
        torch.equal(parameter, expected)
        for parameter, expected in zip(module.network.parameters(), after[5], strict=True)
    )
