"""A diffusion model that predicts what a linear estimate leaves (sigma_data): the network's input, output and limits by
closed form."""

import math

import pytest
import torch

from pomelo_lab.generator.diffusion import noised
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.train import training_of
from pomelo_lab.weights import save
from tests.generator.test_ddpm import draw, shaken, tiny
from tests.tiny import TinyDataset


@pytest.mark.parametrize("t", [3, 400, 960])
def test_beyond_a_linear_estimate_a_silent_network_is_wieners_filter(t):
    deviation = [0.9, 0.2, 0.1, 0.05]
    generator, x = tiny(folding="haar", sigma_data=deviation), draw()
    generator.network.conv_out.weight.zero_()
    generator.network.conv_out.bias.zero_()
    a, s = float(generator.alphas_cumprod[t]), torch.tensor(deviation * 3)[:, None, None]
    wiener = math.sqrt(a) * s**2 / (a * s**2 + 1 - a) * generator.folded(x)  # E[x0 | x] of independent normals
    torch.testing.assert_close(generator.folded(generator.denoise(x, t)[0]), wiener, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("t", [3, 400, 960])
def test_beyond_a_linear_estimate_the_network_sees_and_is_asked_for_unit_variance(t):
    deviation = [0.9, 0.2, 0.1, 0.05]
    generator, seen = tiny(folding="haar", sigma_data=deviation), []
    generator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    s = torch.tensor(deviation * 3)[:, None, None]
    y0, noise, level = s * draw(64, 1, (12, 8, 8)), draw(64, 2, (12, 8, 8)), generator.alphas_cumprod[t].float()
    x = generator.unfolded(noised(y0, float(level), noise))
    blocks = generator.folded(generator.output(x, t))
    assert (seen[0].std((0, 2, 3)) - 1).abs().max() < 0.06
    v = level.sqrt() * noise - (1 - level).sqrt() * y0
    unit = s / (level * s**2 + 1 - level).sqrt()
    answer = generator.network(seen[0], torch.full((64,), t)).sample
    wanted = (v - (blocks - unit * answer)) / unit
    assert (wanted.std((0, 2, 3)) - 1).abs().max() < 0.06
    assert (wanted * seen[0]).mean((0, 2, 3)).abs().max() < 0.06  # nothing linear is left to be said


@pytest.mark.parametrize("spread", [0.05, 0.4])
def test_every_data_set_gets_the_deviation_of_its_own_images(spread, tmp_path):
    """White noise has one deviation in every channel of a block; it is stored with the weights, and these answer as
    with the numbers typed in."""
    rng = torch.Generator().manual_seed(0)
    images = 0.5 + spread * torch.randn(64, 3, 16, 16, generator=rng)
    dataset = TinyDataset(image=images, label=torch.zeros(64, dtype=torch.long))
    generator = tiny(folding="haar", sigma_data="auto")
    training_of(generator, Recipe(), dataset)
    assert generator.sigma_data == pytest.approx([2 * spread] * 4, rel=0.02)
    path = tmp_path / "w.safetensors"
    save(generator.network, path, {}, torch.float16, generator.training_statistics())
    read, typed = (
        tiny(folding="haar", weights=str(path), sigma_data=value) for value in ("auto", generator.sigma_data)
    )
    x, t = draw(), torch.tensor([7, 900])
    torch.testing.assert_close(read.output(x, t), typed.output(x, t), rtol=0, atol=0)
    # to the last bit, whatever the weights are stored in
    assert read.digest() == typed.digest() and read.sigma_data == generator.sigma_data


def test_a_smooth_image_has_its_deviation_in_the_mean_of_a_block():
    value = torch.linspace(0.2, 0.8, 32)[:, None, None, None].expand(-1, 3, 16, 16).clone()
    dataset = TinyDataset(image=value, label=torch.zeros(32, dtype=torch.long))
    mean, *differences = tiny(folding="haar", sigma_data="auto").measure_deviation(dataset)
    assert mean == pytest.approx(4 * float(value[:, 0, 0, 0].std()), rel=0.02) and max(differences) < 1e-6


def test_weights_without_the_measured_deviation_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save(tiny().network, path, {})
    with pytest.raises(
        ValueError,
        match="generator.sigma_data=auto: .*w.safetensors does not hold what was measured: give the numbers, or null",
    ):
        tiny(weights=str(path), sigma_data="auto")


def test_unit_deviation_is_plain_v_prediction():
    x, t = draw(), torch.tensor([7, 900])
    torch.testing.assert_close(shaken(tiny(sigma_data=[1.0])).output(x, t), shaken(tiny()).output(x, t))
