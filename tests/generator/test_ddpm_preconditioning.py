"""A diffusion model that predicts what a linear estimate leaves (sigma_data): the network's input, output and limits by closed form."""

import math

import pytest
import torch

from pomelo_lab.generator.diffusion import noised
from tests.generator.test_ddpm import draw, shaken, tiny


@pytest.mark.parametrize("t", [3, 400, 960])
def test_beyond_a_linear_estimate_a_silent_network_is_wieners_filter(t):
    deviation = [0.9, 0.2, 0.1, 0.05]
    generator, x = tiny(folding="haar", sigma_data=deviation), draw()
    generator.network.conv_out.weight.zero_()
    generator.network.conv_out.bias.zero_()
    a, s = float(generator.levels[t]), torch.tensor(deviation * 3)[:, None, None]
    wiener = math.sqrt(a) * s**2 / (a * s**2 + 1 - a) * generator.folded(x)  # E[x0 | x] of independent normals
    torch.testing.assert_close(generator.folded(generator.denoise(x, t)[0]), wiener, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("t", [3, 400, 960])
def test_beyond_a_linear_estimate_the_network_sees_and_is_asked_for_unit_variance(t):
    deviation = [0.9, 0.2, 0.1, 0.05]
    generator, seen = tiny(folding="haar", sigma_data=deviation), []
    generator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    s = torch.tensor(deviation * 3)[:, None, None]
    y0, noise, level = s * draw(64, 1, (12, 8, 8)), draw(64, 2, (12, 8, 8)), generator.levels[t].float()
    x = generator.unfolded(noised(y0, float(level), noise))
    found = generator.folded(generator.output(x, t))
    assert (seen[0].std((0, 2, 3)) - 1).abs().max() < 0.06
    v = level.sqrt() * noise - (1 - level).sqrt() * y0
    unit = s / (level * s**2 + 1 - level).sqrt()
    answer = generator.network(seen[0], torch.full((64,), t)).sample
    wanted = (v - (found - unit * answer)) / unit
    assert (wanted.std((0, 2, 3)) - 1).abs().max() < 0.06
    assert (wanted * seen[0]).mean((0, 2, 3)).abs().max() < 0.06  # nothing linear is left to be said


def test_unit_deviation_is_plain_v_prediction():
    x, t = draw(), torch.tensor([7, 900])
    torch.testing.assert_close(shaken(tiny(sigma_data=[1.0])).output(x, t), shaken(tiny()).output(x, t))
