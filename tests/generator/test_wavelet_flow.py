"""The wavelet flow: exact in both directions, with the density that its Jacobian says, measured components and learned
details."""

import math

import pytest
import torch

from pomelo_lab.config.signature import node_problems
from pomelo_lab.generator.wavelet_flow import WaveletFlow
from pomelo_lab.generator.wavelet_flow_network import haar, inverse_haar
from pomelo_lab.weights import save
from tests.tiny import tiny_image

TINY = {
    "channels": 3,
    "size_px": 16,
    "widths": [8, 8],
    "hidden": [8, 8],
    "n_couplings": 2,
    "n_leading": 12,
    "coarse_hidden": 8,
    "coarse_couplings": 3,
    "shares": [0.25, 0.5],
}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(sigma=0.05, **changes):
    """A flow whose components are measured on made-up images and whose parameters are all moved at random, the large
    matrices a little only."""
    generator, rng = WaveletFlow(**{**TINY, **changes}), torch.Generator().manual_seed(0)
    for name, parameter in generator.network.named_parameters():
        matrix = name.rpartition(".")[2] in ("lower", "upper", "log_diagonal")
        parameter.add_((min(sigma, 0.02) if matrix else sigma) * torch.randn(parameter.shape, generator=rng))
    if generator.weights is None:
        images = tiny_image(400, generator.shape, 5)
        generator.network.coarse.whitening.fit(
            generator.network.coarsest(generator.scaled(images)[0]), generator.stored
        )
    generator.network.freeze()
    return generator


# --- both directions ----------------------------------------------------------------------------------------------


def test_haar_means_and_orthonormal_details():
    x = normal(2, 3, 8, 8)
    mean, detail = haar(x)
    torch.testing.assert_close(mean, torch.nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(4 * mean.square().sum() + detail.square().sum(), x.square().sum())
    torch.testing.assert_close(inverse_haar(mean, detail), x)
    edge = torch.tensor([0.0, 1.0]).expand(1, 1, 2, 2)
    assert haar(edge)[1].flatten().tolist() == [-1.0, 0.0, 0.0] and haar(edge.mT)[1].flatten().tolist() == [
        0.0,
        -1.0,
        0.0,
    ]


@pytest.mark.parametrize("temperature", [[1.0, 1.0, 1.0], [0.5, 0.7, 0.9]])
def test_images_and_latents_come_back(temperature):
    generator, images = tiny(temperature=temperature), tiny_image(4, (3, 16, 16))
    latent = generator.encode(images)
    assert latent.shape == (4, 768)
    torch.testing.assert_close(generator.decode(latent), images, atol=1e-4, rtol=0)
    parts = [
        part.unflatten(1, size)
        for part, size in zip(normal(4, 768).split([576, 144, 48], 1), generator.latent_shapes, strict=True)
    ]
    again = generator.network(generator.network(parts, reverse=True))[0]
    for part, back in zip(parts, again, strict=True):
        torch.testing.assert_close(back, part, atol=1e-4, rtol=0)


def test_images_of_64_pixels_come_back():
    generator = tiny(sigma=0.05, size_px=64, widths=[32, 48], hidden=[32, 32], n_leading=256)
    images = tiny_image(2, (3, 64, 64))
    assert generator.latent_shapes == [(9, 32, 32), (9, 16, 16), (3, 16, 16)]
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)


def test_temperature_is_the_deviation_of_a_levels_latents():
    warm, cool, latent = tiny(), tiny(temperature=[0.5, 0.7, 0.9]), normal(2, 768)
    factor = torch.cat([torch.full((n,), t) for n, t in ((576, 0.5), (144, 0.7), (48, 0.9))])
    torch.testing.assert_close(cool.decode(latent), warm.decode(factor * latent), atol=1e-6, rtol=0)


def test_answers_do_not_depend_on_the_rest_of_the_batch():
    generator, images = tiny(), tiny_image(4, (3, 16, 16))
    whole = generator.encode(images)
    torch.testing.assert_close(
        torch.cat([generator.encode(image[None]) for image in images]), whole, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        torch.cat([generator.decode(latent[None]) for latent in whole]), generator.decode(whole), atol=1e-5, rtol=0
    )


def test_details_depend_on_the_coarser_image_and_not_the_other_way_round():
    generator, latent = tiny(), normal(1, 768)
    images = {level: latent.clone() for level in ("finest", "coarsest")}
    images["finest"][:, 0] += 1
    images["coarsest"][:, -1] += 1
    pooled = {
        name: torch.nn.functional.avg_pool2d(generator.decode_unclamped(changed), 2) for name, changed in images.items()
    }
    before = torch.nn.functional.avg_pool2d(generator.decode_unclamped(latent), 2)
    torch.testing.assert_close(pooled["finest"], before, atol=1e-5, rtol=0)
    assert float((pooled["coarsest"] - before).abs().max()) > 1e-3


def test_gradients_pass_through_decoding():
    """By central differences along one direction."""
    generator, latent, way = tiny(), 0.3 * normal(1, 768), normal(1, 768, seed=1)
    leaf = latent.clone().requires_grad_()
    with torch.enable_grad():
        generator.decode_unclamped(leaf).square().sum().backward()
    apart = [generator.decode_unclamped(latent + sign * 3e-3 * way).double().square().sum() for sign in (1, -1)]
    assert float((leaf.grad * way).sum()) == pytest.approx(float((apart[0] - apart[1]) / 6e-3), rel=3e-2)


# --- densities ----------------------------------------------------------------------------------------------------


def test_log_determinant_is_that_of_the_jacobian():
    generator = tiny(channels=1, size_px=8, n_leading=4, shares=[1.0, 1.0])

    def flow(offset):
        return torch.cat([part.flatten(1) for part in generator.network(generator.scaled(image, offset)[0])[0]], 1)[0]

    for seed in range(2):
        image, offset = tiny_image(1, (1, 8, 8), seed), uniform(1, 1, 8, 8, seed=seed)
        with torch.enable_grad():
            jacobian = torch.autograd.functional.jacobian(flow, offset).flatten(1).double()
        expected = (
            -0.5 * flow(offset).square().sum() - 32 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1].float()
        )
        torch.testing.assert_close(generator.log_density(image, offset)[0], expected, atol=5e-3, rtol=1e-4)


def test_density_integrates_to_one():
    """Under samples of one flow another one's density over its own has mean 1, if both integrate to the same; the other
    one's is a closed form."""
    shape = {
        "channels": 1,
        "size_px": 4,
        "widths": [4],
        "hidden": [4],
        "n_leading": 2,
        "shares": [1.0],
        "temperature": [1.0, 1.0],
    }
    sampled, plain = (WaveletFlow(**{**TINY, **shape}) for _ in range(2))
    rng = torch.Generator().manual_seed(0)
    for parameter in sampled.network.parameters():
        parameter.add_(0.01 * torch.randn(parameter.shape, generator=rng))
    sampled.network.freeze()
    colours = sampled.decode_unclamped(normal(20_000, 16)).view(-1, 1, 4, 4)
    offset, image = colours * 255 + 0.5, torch.zeros(1, 1, 4, 4)
    ratio = (
        plain.log_density(image.expand_as(offset), offset) - sampled.log_density(image.expand_as(offset), offset)
    ).exp()
    assert float(ratio.std()) > 0.05 and float(ratio.mean()) == pytest.approx(
        1, abs=5 * float(ratio.std()) / 20_000**0.5
    )


def test_density_of_an_untrained_flow_is_that_of_normals():
    """Only its details are turned, so means and details are independent standard normals."""
    generator = WaveletFlow(**TINY)
    images, offset = tiny_image(4, (3, 16, 16)), uniform(4, 3, 16, 16)
    x, change = generator.scaled(images, offset)
    mean, finest = haar(x)
    coarsest, details = haar(mean)
    parts = [finest, details, coarsest]
    logs = sum(torch.distributions.Normal(0, 1).log_prob(part).flatten(1).sum(1) for part in parts)
    expected = logs + change - math.log(2) * (mean[0].numel() + coarsest[0].numel())
    torch.testing.assert_close(generator.log_density(images, offset), expected, atol=1e-2, rtol=1e-5)


def test_scales_stay_within_their_bound():
    generator = tiny(sigma=3.0, scale_bound=0.5)
    for module in generator.network.coarse.couplings:
        assert float(module.change(normal(64, 6))[0].abs().max()) <= 0.5
    level = generator.network.details[0]
    features, _, log_sd = level.condition(normal(4, 3, 8, 8))
    assert float(log_sd.abs().max()) <= 4.0
    assert float(level.couplings[0].change(normal(4, 4, 8, 8), features)[0].abs().max()) <= 0.5


def test_components_of_the_training_images_are_white():
    whitening, mix = tiny().network.coarse.whitening, normal(48, 48, seed=3)
    values = normal(5000, 48) @ mix + normal(48, seed=4)
    whitening.fit(values, torch.float16)
    white, spread = whitening(values)
    torch.testing.assert_close(white.T.cov(correction=0), torch.eye(48), atol=2e-2, rtol=0)
    assert float(spread[0]) == pytest.approx(-0.5 * float(torch.linalg.slogdet(values.double().T.cov())[1]), abs=0.1)
    torch.testing.assert_close(whitening.reverse(white), values, atol=1e-3, rtol=0)
    assert all(
        torch.equal(tensor, tensor.half().float()) for tensor in (whitening.mean, whitening.axes, whitening.scale)
    )


# --- training -----------------------------------------------------------------------------------------------------


def test_a_level_learns_from_its_share_of_the_batch():
    """The mean over the images that it sees; the coarsest from all."""
    generator, images, offset = tiny(), tiny_image(8, (3, 16, 16)), uniform(8, 3, 16, 16)
    latents, spreads = generator.network(generator.scaled(images, offset)[0])
    densities = [
        -0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(1) + s for z, s in zip(latents, spreads, strict=True)
    ]
    expected = (
        densities[0][:2].mean() + densities[1][:4].mean() + densities[2].mean() + generator.scaled(images, offset)[1]
    )
    torch.testing.assert_close(generator.training_density(images, offset), expected, rtol=1e-5, atol=1e-2)


def test_noise_is_added_in_training_only():
    rng = torch.Generator().manual_seed(0)
    noisy, plain = (
        tiny(noise=2.0).draw_offsets((64, 3, 16, 16), rng),
        tiny(noise=0.0).draw_offsets((64, 3, 16, 16), rng),
    )
    assert float(noisy.var()) == pytest.approx(4 + 1 / 12, rel=0.03) and 0 <= plain.min() and plain.max() < 1
    assert torch.equal(
        tiny(noise=2.0).encode(tiny_image(1, (3, 16, 16))), tiny(noise=0.0).encode(tiny_image(1, (3, 16, 16)))
    )


def test_files_hold_the_same_flow(tmp_path):
    generator = tiny()
    for parameter in generator.network.parameters():
        parameter.copy_(parameter.half())
    generator.network.freeze()
    save(generator.network, tmp_path / "weights.safetensors", {}, generator.stored)
    again = WaveletFlow(**TINY, weights=str(tmp_path / "weights.safetensors"))
    images, offset = tiny_image(2, (3, 16, 16)), uniform(2, 3, 16, 16)
    torch.testing.assert_close(
        again.log_density(images, offset), generator.log_density(images, offset), rtol=1e-5, atol=1e-2
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"hidden": [8]}, "hidden needs 2 values for 2 widths, got 1"),
        ({"temperature": [1.0, 1.0]}, "temperature needs 3 values for 2 widths, got 2"),
        ({"shares": [0.5, 1.5]}, "shares must be <= 1"),
        ({"size_px": 20}, "size_px must be a multiple of 8"),
        ({"n_leading": 49}, "n_leading must be <= 48"),
    ],
)
def test_refusals(changes, text):
    node = {"_target_": "pomelo_lab.generator.wavelet_flow.WaveletFlow", **TINY, **changes}
    assert any(text in problem for problem in node_problems(node, "generator", None))
