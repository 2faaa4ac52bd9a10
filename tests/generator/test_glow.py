"""The flow: exact in both directions, with the densities that its Jacobian says."""

import math

import pytest
import torch

from pomelo_lab.generator.glow import Glow
from pomelo_lab.generator.glow_network import ActNorm, Mix
from pomelo_lab.weights import save
from tests.tiny import tiny_image

TINY = {"channels": 3, "size_px": 16, "n_flows": 2, "n_blocks": 3, "hidden": 16}
COUPLINGS = ["additive", "affine"]


def tiny(**changes):
    return Glow(**{**TINY, **changes})


def shaken(generator, seed=0, sigma=0.05):
    """Every parameter moved at random, those that start at zero too."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in generator.network.parameters():
        parameter.add_((sigma * torch.randn(parameter.shape, generator=rng)).to(parameter.dtype))
    generator.network.freeze()
    return generator


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# --- both directions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("latent", ["eps", "raw"])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_images_come_back(coupling, latent, sigma):
    """Measured: 1e-6."""
    generator, images = shaken(tiny(coupling=coupling, latent=latent), sigma=sigma), tiny_image(4, (3, 16, 16))
    latents = generator.encode(images)
    assert latents.shape == (4, 3 * 16 * 16) and latents.isfinite().all()
    torch.testing.assert_close(generator.decode(latents), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_latents_come_back(coupling):
    generator, latent = shaken(tiny(coupling=coupling), sigma=0.02), normal(4, 3 * 16 * 16)
    parts = [
        part.unflatten(1, size)
        for part, size in zip(latent.split([6 * 64, 12 * 16, 48 * 4], 1), generator.latent_shapes, strict=True)
    ]
    eps = generator.network(generator.network(parts, reverse=True))[0]
    torch.testing.assert_close(torch.cat([part.flatten(1) for part in eps], 1), latent, atol=1e-4, rtol=0)


def test_images_come_back_from_the_default_architecture():
    generator, images = shaken(Glow(channels=3, size_px=64), sigma=0.01), tiny_image(1, (3, 64, 64))
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)


def test_extreme_colours_come_back():
    for value in (0.0, 1.0):
        images = torch.full((1, 3, 16, 16), value)
        torch.testing.assert_close(tiny().decode(tiny().encode(images)), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_latent_shapes(channels):
    generator = Glow(channels=channels, size_px=64, n_flows=1, hidden=4, n_blocks=4)
    expected = [(6, 32, 32), (12, 16, 16), (24, 8, 8), (96, 4, 4)]
    assert generator.latent_shapes == [(c * channels // 3, h, w) for c, h, w in expected]
    assert sum(math.prod(size) for size in generator.latent_shapes) == channels * 64 * 64 == (12288 * channels // 3)
    eps, raw, _ = generator.network(normal(1, channels, 64, 64))
    assert [tuple(part.shape[1:]) for part in eps] == [tuple(part.shape[1:]) for part in raw] == generator.latent_shapes


@pytest.mark.parametrize("block", range(3))
def test_whitened_latents_are_raw_ones_seen_from_their_prior(block):
    generator = shaken(tiny())
    eps, raw, _ = generator.network(generator.scaled(tiny_image(2, (3, 16, 16)))[0])
    remaining = torch.zeros_like(raw[2]) if block == 2 else None
    if remaining is None:  # what goes on is what the later blocks' raw latents decode to
        remaining = raw[2]
        for k in range(2, block, -1):
            remaining = generator.network.blocks[k].reverse(None if k == 2 else remaining, raw[k], whitened=False)
    mean, log_sd = generator.network.blocks[block].prior(remaining).chunk(2, 1)
    torch.testing.assert_close(raw[block], mean + eps[block] * log_sd.exp(), atol=1e-4, rtol=1e-4)


# --- colours ------------------------------------------------------------------------------------------------------


GRID = (torch.arange(256) / 255).expand(3, 256).reshape(1, 3, 16, 16)


@pytest.mark.parametrize("n_bits", [1, 2, 5, 8])
def test_fewer_bits_give_the_centre_of_the_bin(n_bits):
    generator, width = tiny(n_bits=n_bits), 2 ** (8 - n_bits)
    expected = (torch.arange(256) // width * width + (width - 1) / 2).expand(3, 256).reshape(1, 3, 16, 16) / 255
    torch.testing.assert_close(generator.decode(generator.encode(GRID)), expected, atol=1e-5, rtol=0)


def test_the_lower_edge_has_the_published_bias():
    """Uniform colours and 5 bits, as methods/attribution.md measured the published code: -0.0175 +- 0.0197, nothing
    above 0.969."""
    generator, images = tiny(n_bits=5, centered=False), uniform(64, 3, 16, 16)
    error = generator.decode(generator.encode(images)) - images
    assert float(error.mean()) == pytest.approx(-0.0175, abs=1e-3) and float(
        error.square().mean().sqrt()
    ) == pytest.approx(0.0197, abs=1e-3)
    assert float(generator.decode(generator.encode(torch.ones(1, 3, 16, 16))).max()) == pytest.approx(31 / 32, abs=1e-5)
    centered = tiny(n_bits=5)
    error = centered.decode(centered.encode(images)) - images
    assert abs(float(error.mean())) < 2.5e-3  # half a 256th: colours between the grid's are rounded down to it


def test_decoded_images_are_clamped():
    far = tiny().decode(5 * normal(2, 3 * 16 * 16))
    assert far.min() == 0 and far.max() == 1


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.2])
def test_scaling_is_the_logit_and_its_derivative(margin):
    generator, images = tiny(margin=margin, n_bits=5), tiny_image(2, (3, 16, 16))
    noise = uniform(2, 3, 16, 16).requires_grad_()
    x, change = generator.scaled(images, noise)
    bins = (images * 255).round().div(8, rounding_mode="floor")
    torch.testing.assert_close(x, (margin + (1 - 2 * margin) * (bins + noise) / 32).logit())
    (slope,) = torch.autograd.grad(x.sum(), noise)
    torch.testing.assert_close(change, slope.log().flatten(1).sum(1))


# --- first batch, cached matrices ---------------------------------------------------------------------------------


def test_actnorm_is_set_by_the_first_training_batch_alone():
    generator, outputs = shaken(tiny(), sigma=0.1), []
    generator.network.thaw()
    norms = [m for m in generator.network.modules() if isinstance(m, ActNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda _, __, out: outputs.append(out[0]))
    before = [norm.loc.clone() for norm in norms]
    generator.network(normal(8, 3, 16, 16, seed=1))
    assert all(torch.equal(norm.loc, old) and not norm.ready for norm, old in zip(norms, before, strict=True))
    generator.network.train()
    outputs.clear()
    generator.network(3 + 2 * normal(8, 3, 16, 16, seed=2))
    for out in outputs:
        torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(out.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(out.shape[1]), atol=1e-3, rtol=0)
    after = [(norm.loc.clone(), norm.log_scale.clone()) for norm in norms]
    generator.network(normal(8, 3, 16, 16, seed=3))
    assert len(outputs) == 2 * len(norms) == 12 and all(norm.ready for norm in norms)
    assert all(
        torch.equal(norm.loc, loc) and torch.equal(norm.log_scale, scale)
        for norm, (loc, scale) in zip(norms, after, strict=True)
    )


def test_the_first_batch_is_remembered_in_weights_files(tmp_path):
    generator = tiny()
    generator.network.train()(normal(8, 3, 16, 16))
    save(generator.network, tmp_path / "w.safetensors", {})
    loaded = tiny(weights=str(tmp_path / "w.safetensors"))
    assert loaded.digest() == generator.digest() != tiny().digest() and all(
        m.ready for m in loaded.network.modules() if isinstance(m, ActNorm)
    )
    images = tiny_image(2, (3, 16, 16))
    generator.network.eval()
    torch.testing.assert_close(loaded.encode(images), generator.encode(images))


def test_frozen_matrices_are_the_ones_computed_anew():
    generator, images = shaken(tiny()), tiny_image(2, (3, 16, 16))
    mixes = [m for m in generator.network.modules() if isinstance(m, Mix)]
    assert all(m.cached is not None and m.cached_inverse is not None for m in mixes)
    latent = generator.encode(images)
    back = generator.decode(latent)
    generator.network.thaw()
    assert all(m.cached is None and m.cached_inverse is None for m in mixes)
    assert torch.equal(generator.encode(images), latent) and torch.equal(generator.decode(latent), back)
    mixes[0].log_diagonal.add_(0.1)
    thawed = generator.encode(images)
    assert not torch.allclose(thawed, latent)
    generator.network.freeze()
    assert torch.equal(generator.encode(images), thawed)
    torch.testing.assert_close(generator.decode(thawed), images, atol=1e-4, rtol=0)


def test_mixing_starts_as_a_rotation():
    mix = Mix(12)
    torch.testing.assert_close(mix.matrix() @ mix.matrix().T, torch.eye(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(mix.matrix() @ mix.inverse(), torch.eye(12), atol=1e-5, rtol=0)
    assert abs(mix.log_diagonal.sum().item()) < 1e-5 and {*mix.sign.tolist()} <= {-1.0, 1.0}


# --- sampling -----------------------------------------------------------------------------------------------------


def test_samples_decode_the_drawn_normals():
    generator = shaken(tiny(batch_size=2))
    samples = generator.sample(5, torch.Generator().manual_seed(0), temperature=0.7)
    torch.testing.assert_close(samples, generator.decode(0.7 * normal(5, 768)), atol=1e-5, rtol=0)
    assert samples.shape == (5, 3, 16, 16)


def test_samples_encode_to_the_drawn_normals_up_to_half_a_bin():
    """An untrained additive flow only rotates: errors of the latents are as long as those of the logits, of which each
    is half a bin at most."""
    generator, drawn = tiny(coupling="additive"), 0.5 * normal(4, 768)
    images = generator.sample(4, torch.Generator().manual_seed(0), temperature=0.5)
    y = 0.05 + 0.9 * (images * 255 + 0.5) / 256
    half = 0.9 / 512 / (y * (1 - y)) * 1.02  # its change over half a bin
    rounded = (images * 255).round() / 255  # samples lie between the 8-bit colours, encoding rounds down
    error = (generator.encode(rounded) - drawn).norm(dim=1)
    assert (error <= half.flatten(1).norm(dim=1)).all() and (error > 0).all()


def test_temperature_zero_is_one_image():
    generator = shaken(tiny())
    samples = generator.sample(3, torch.Generator().manual_seed(0), temperature=0.0)
    torch.testing.assert_close(samples, samples[:1].expand_as(samples))
    torch.testing.assert_close(samples[:1], generator.decode(torch.zeros(1, 768)))
    assert not torch.allclose(*generator.sample(2, torch.Generator().manual_seed(0)))


def test_raw_latents_cannot_be_sampled():
    with pytest.raises(ValueError, match="generator.latent=raw has no standard normal"):
        tiny(latent="raw").sample(1, torch.Generator().manual_seed(0))


# --- arithmetic, arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_couplings_of_low_precision_keep_the_8_bit_image(coupling, precision, tmp_path):
    """Not 1e-4: rounding of the flow's float32 moves a coupling's input across a step of its arithmetic now and then
    (measured: 8e-4 for bfloat16 here, up to 5e-3 with trained weights). Half a step of 8 bits is 2e-3."""
    images, path = tiny_image(4, (3, 16, 16)), tmp_path / "w.safetensors"
    exact = shaken(tiny(coupling=coupling), sigma=0.02)
    save(exact.network, path, {})
    low = tiny(coupling=coupling, precision=precision, weights=str(path))
    couplings = [p for name, p in low.network.named_parameters() if ".net." in name]
    others = [p for name, p in low.network.named_parameters() if ".net." not in name]
    assert {p.dtype for p in couplings} == {low.dtype} and {p.dtype for p in others} == {torch.float32}
    latent = low.encode(images)
    assert latent.dtype == torch.float32 and 0 < (latent - exact.encode(images)).abs().max() < 0.1
    assert (low.decode(latent) - images).abs().max() < 1 / 510


def test_digest_follows_what_changes_the_latents():
    options = [
        {},
        {"coupling": "affine"},
        {"precision": "bfloat16"},
        {"latent": "raw"},
        {"n_bits": 5},
        {"centered": False},
        {"init_seed": 1},
    ]
    digests = [tiny(**{"coupling": "additive", **changes}).digest() for changes in options]
    assert len(set(digests)) == len(options)


def test_neither_construction_nor_sampling_touches_the_global_rng():
    before = torch.random.get_rng_state()
    tiny().sample(2, torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"size_px": 20}, r"generator.size_px must be a multiple of 8 \(2 to the power of n_blocks\), got 20"),
        ({"channels": None}, "generator.channels is missing"),
        ({"n_bits": 9}, "generator.n_bits must be <= 8"),
        ({"margin": 0.5}, "generator.margin must be < 0.5"),
        ({"coupling": "linear"}, "generator.coupling"),
        ({"weights": "auto"}, "generator.weights=auto is for configs"),
    ],
)
def test_wrong_arguments(wrong, text):
    with pytest.raises(ValueError, match=text):
        tiny(**wrong)
