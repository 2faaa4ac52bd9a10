"""Glow with couplings whose scales are bounded, a size of its own for each block, and noise in training."""

import math

import pytest
import torch

from tests.generator.test_glow import TINY, normal, shaken, tiny, uniform
from tests.tiny import tiny_image

BOUNDED = {"coupling": "affine", "scale_bound": 0.5, "hidden": [4, 8, 16], "n_flows": [1, 2, 3]}


def test_bounded_couplings_of_a_size_per_block_are_exact_and_stay_within_their_bound():
    generator, images = shaken(tiny(**BOUNDED), sigma=0.05), tiny_image(4, (3, 16, 16))
    widths = [block.flows[0][2].net[0].out_channels for block in generator.network.blocks]
    assert widths == [4, 8, 16] and [len(block.flows) for block in generator.network.blocks] == [1, 2, 3]
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)
    coupling = shaken(tiny(**BOUNDED), sigma=3.0).network.blocks[0].flows[0][2]
    log_scale, _ = coupling.change(normal(8, 6, 8, 8))
    assert 0.45 < float(log_scale.max()) <= 0.5 and -0.5 <= float(log_scale.min()) < -0.45


def test_log_determinant_of_bounded_couplings_is_that_of_the_jacobian():
    generator = shaken(tiny(channels=1, size_px=8, n_blocks=2, coupling="affine", scale_bound=0.5), sigma=0.1)
    image, offset = tiny_image(1, (1, 8, 8)), uniform(1, 1, 8, 8)
    jacobian = (
        torch.autograd.functional.jacobian(lambda position: generator.encoded(image, position)[0][0], offset)
        .flatten(1)
        .double()
    )
    latent, density = generator.encoded(image, offset)
    expected = -0.5 * latent.square().sum() - 32 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1].float()
    torch.testing.assert_close(density[0], expected, atol=2e-3, rtol=1e-5)


def test_noise_is_added_to_the_place_in_the_bin_in_training_only():
    rng = torch.Generator().manual_seed(0)
    plain, noisy = (tiny(noise=noise).draw_offsets((64, 3, 16, 16), rng) for noise in (0.0, 2.0))
    assert 0 <= plain.min() and plain.max() < 1
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.05) and float(noisy.var()) == pytest.approx(
        4 + 1 / 12, rel=0.03
    )
    images = tiny_image(2, (3, 16, 16))
    # never beyond the margin
    assert tiny(noise=200.0).scaled(images, tiny(noise=200.0).draw_offsets(images.shape, rng))[0].isfinite().all()
    assert torch.equal(tiny(noise=2.0).encode(images), tiny().encode(images))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hidden": [4, 8]}, "hidden must be a number or a list of 3"),
        ({"n_flows": [1, 2]}, "n_flows must be a number or a list of 3"),
        ({"scale_bound": 1.0}, "scale_bound is for coupling=affine, got coupling=additive"),
    ],
)
def test_refusals(changes, text):
    from pomelo_lab.config.signature import node_problems

    node = {"_target_": "pomelo_lab.generator.glow.Glow", **TINY, **changes}
    assert any(text in problem for problem in node_problems(node, "generator", None))
