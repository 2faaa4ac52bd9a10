"""The diffusion autoencoder: its block by formula, its code, its training, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.config.signature import node_problems
from pomelo_lab.generator.diffusion import decode
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.generator.diffusion_autoencoder_network import AdaGNBlock
from pomelo_lab.training.recipe import AutoencoderRecipe, Recipe
from pomelo_lab.training.train import training_of
from tests.generator import toy
from tests.generator.test_ddpm import draw, shaken
from tests.tiny import batch_of, tiny_image

TINY = {
    "channels": 1,
    "size_px": 8,
    "unshuffle": 2,
    "widths": [8, 8],
    "attention": [1],
    "norm_groups": 4,
    "head_dim": 4,
    "n_timesteps": 100,
    "code": 5,
    "encoder_widths": [8, 8, 16],
    "encoder_attention": [1],
}
CONDITIONING = ["adagn", "additive"]


def tiny(**changes):
    return DiffusionAutoencoder(**{**TINY, **changes})


@pytest.mark.parametrize("n_out", [8, 16])
def test_adagn_block_by_its_formula(n_out):
    """norm, SiLU, conv; [GN(h) (1 + scale_t) + shift_t] (1 + scale_z), SiLU, conv; plus the skip."""
    from diffusers.models.resnet import ResnetBlock2D

    torch.manual_seed(0)
    block = AdaGNBlock(
        ResnetBlock2D(in_channels=8, out_channels=n_out, temb_channels=6, groups=4, time_embedding_norm="scale_shift"),
        6,
        5,
    )
    assert not block.block.conv2.weight.any() and not block.block.conv2.bias.any()
    torch.nn.init.normal_(block.block.conv2.weight)
    x, time, code, inner = torch.randn(3, 8, 4, 4), torch.randn(3, 6), torch.randn(3, 5), block.block
    h = inner.norm2(inner.conv1(F.silu(inner.norm1(x))))
    wanted = inner.time_emb_proj(F.silu(time))[:, :, None, None]
    h = h * (1 + wanted[:, :n_out]) + wanted[:, n_out:]
    h = h * (1 + block.code_proj(F.silu(code))[:, :, None, None])
    expected = (inner.conv_shortcut(x) if n_out != 8 else x) + inner.conv2(F.silu(h))
    torch.testing.assert_close(block(x, torch.cat([time, code], 1)), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(block(x, torch.cat([time, 2 * code], 1)), expected, atol=1e-2)


def test_blocks_that_change_the_resolution():
    generator = tiny(
        unet={
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        }
    )
    x = draw(shape=(1, 8, 8))
    assert generator.output(x, 3, torch.zeros(2, 5)).shape == x.shape


def test_beyond_a_linear_estimate_of_the_image_the_code_still_counts():
    x, code, t = draw(shape=(1, 8, 8)), draw(shape=(5,)), torch.tensor([7, 80])
    plain = shaken(tiny())
    torch.testing.assert_close(shaken(tiny(sigma_data=[1.0])).output(x, t, code), plain.output(x, t, code))
    generator = shaken(tiny(sigma_data=[0.4], folding="haar"))
    a = generator.alphas_cumprod[t].float()[:, None, None, None]
    deviation = (a * 0.4**2 + 1 - a).sqrt()
    linear = (a * (1 - a)).sqrt() * (1 - 0.4**2) / deviation**2 * x
    answer = generator.unfolded(generator.apply(generator.folded(x) / deviation, t, code))
    torch.testing.assert_close(generator.output(x, t, code), linear + 0.4 / deviation * answer)
    assert float((generator.output(x, t, code.roll(1, 0)) - generator.output(x, t, code)).abs().max()) > 1e-4


@pytest.mark.parametrize("conditioning", CONDITIONING)
def test_the_code_and_the_time_reach_the_network(conditioning):
    generator = shaken(tiny(conditioning=conditioning))
    x, code = draw(shape=(1, 8, 8)), draw(shape=(5,))
    outputs = generator.output(x, 7, code)
    assert float((generator.output(x, 7, code.roll(1, 0)) - outputs).abs().max()) > 1e-4
    assert float((generator.output(x, 80, code) - outputs).abs().max()) > 1e-4
    torch.testing.assert_close(generator.output(x[1:], 7, code[1:]), outputs[1:])


def test_codes_are_those_of_each_image_alone():
    generator, images = tiny(), tiny_image(3, (1, 8, 8))
    codes = generator.encoded(images)
    assert codes.shape == (3, 5)
    torch.testing.assert_close(generator.encoded(images[[2]]), codes[[2]])
    assert float((codes[0] - codes[1]).abs().max()) > 1e-4
    images.requires_grad_()
    assert torch.autograd.grad(generator.encoded(images).sum(), images)[0].abs().sum() > 0


def test_a_pooled_head_forgets_places_and_a_flat_one_knows_them():
    pooled, flat = (tiny(encoder_head=head).network.encoder for head in ("pool", "flatten"))
    assert flat.head.in_features == pooled.head.in_features  # the last map has one place here
    flat, x = tiny(encoder_head="flatten", encoder_widths=[8, 16]).network.encoder, draw(shape=(4, 4, 4))
    h = F.silu(flat.norm(flat.body(x)))
    torch.testing.assert_close(flat(x), h.flatten(1) @ flat.head.weight.T + flat.head.bias)
    pooled = tiny(encoder_head="pool", encoder_widths=[8, 16]).network.encoder
    h = F.silu(pooled.norm(pooled.body(x)))
    torch.testing.assert_close(pooled(x), h.mean((2, 3)) @ pooled.head.weight.T + pooled.head.bias)
    assert flat.head.in_features == 4 * pooled.head.in_features


def test_timesteps_of_a_training():
    """A share `noisy` from the last `noisiest` of the schedule, the rest from all of it; without, the same numbers as
    any diffusion model's."""
    rng = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    generator, n = tiny(), 20_000
    plain, all_alike, more = (
        training_of(generator, recipe, None).timesteps(n, rng())
        for recipe in (
            Recipe(**toy.RECIPE),
            AutoencoderRecipe(**toy.RECIPE),
            AutoencoderRecipe(**toy.RECIPE, noisy=0.5, noisiest=0.2),
        )
    )
    assert torch.equal(plain, all_alike) and torch.equal(plain, torch.randint(100, (n,), generator=rng()))
    assert (
        more.min() >= 0
        and more.max() == 99
        and float((more >= 80).double().mean()) == pytest.approx(0.5 + 0.5 * 0.2, abs=0.01)
    )
    late = more[more >= 80].bincount(minlength=100)[80:]
    assert int(late.min()) > 0.8 * n * 0.6 / 20


def test_loss_is_told_the_code_of_the_clean_image():
    generator = shaken(tiny(prediction="epsilon"))
    module, given = training_of(generator, Recipe(**toy.RECIPE), None), batch_of(tiny_image(4, (1, 8, 8)))
    t, noise = torch.tensor([3, 40, 70, 99]), draw(4, shape=(1, 8, 8))
    level = generator.alphas_cumprod[t].float()[:, None, None, None]
    x = level.sqrt() * (given.image * 2 - 1) + (1 - level).sqrt() * noise
    code = generator.encoded(given.image)
    torch.testing.assert_close(
        module.error(given.image, t, noise), (generator.output(x, t, code) - noise).square().mean((1, 2, 3))
    )
    scores = module.score(given)
    assert set(scores) == {"loss", "loss_other_code"} and not torch.allclose(*scores.values())


def test_encoder_and_unet_learn_together_and_the_code_comes_to_matter(tmp_path):
    module = toy.run_training(tiny(), tmp_path, epochs=30, lr=1e-2)
    assert module.report["loss_other_code"] > 1.2 * module.report["loss"]
    generator = module.generator
    images = torch.tensor([0.2, 0.8])[:, None, None, None].expand(2, 1, 8, 8)
    noise = draw(1, shape=(1, 8, 8)).expand(2, 1, 8, 8)
    made = generator.unscaled(decode(generator.denoiser(generator.encoded(images)), noise, generator.respace(20)))
    assert float(made[0].mean()) < 0.4 and float(made[1].mean()) > 0.6


def test_a_code_that_is_ignored_is_named(caplog):
    module = toy.module_of(tiny())
    report = module.summary({"loss": torch.ones(4), "loss_other_code": torch.ones(4) * 1.01})
    assert "the code hardly matters" in caplog.text and report["n"] == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoder_widths": [8, 9]}, "encoder_widths must be multiples of norm_groups=4, got 9"),
        ({"encoder_attention": [3]}, "encoder_attention names levels 0..2, got 3"),
        ({"encoder_widths": [8, 8, 8, 8]}, "4 levels of the encoder"),
        ({"widths": [8, 9]}, "widths must be multiples"),
    ],
)
def test_refused(changes, named):
    node = {"_target_": "pomelo_lab.generator.diffusion_autoencoder.DiffusionAutoencoder", **TINY, **changes}
    assert named in " ".join(node_problems(node, "generator"))
    with pytest.raises(ValueError, match=named.split("=")[0]):
        tiny(**changes)


def test_images_come_back_from_code_and_noise():
    generator, images = shaken(tiny(), sigma=0.02), tiny_image(3, (1, 8, 8))
    code = generator.encoded(images)
    rendered = generator.render(code, generator.infer_noise(images, code, 20, fixed_point=12), 20)
    assert float((rendered - images).square().mean().sqrt()) < 1e-3
    rough = generator.render(code, generator.infer_noise(images, code, 20, fixed_point=0), 20)
    assert float((rough - images).square().mean()) > float((rendered - images).square().mean())
    other = generator.render(code.roll(1, 0), generator.infer_noise(images, code, 20, fixed_point=4), 20)
    assert float((other - images).square().mean()) > float((rendered - images).square().mean())


def test_the_published_inversion_step_by_step():
    """x[k+1] = sqrt(a[k+1]) clean + sqrt(1 - a[k+1]) eps, both from the clamped estimate at x[k], the clean image taken
    to have a[0]."""
    generator, images = shaken(tiny()), tiny_image(2, (1, 8, 8))
    code, x = generator.encoded(images), images * 2 - 1
    chosen = [0, 20, 40, 60, 80]
    bar = [*generator.alphas_cumprod[chosen].tolist(), 0.0]
    for i, t in enumerate(chosen):
        v = generator.output(x, t, code)
        clean = (bar[i] ** 0.5 * x - (1 - bar[i]) ** 0.5 * v).clamp(-1, 1)
        eps = (x - bar[i] ** 0.5 * clean) / (1 - bar[i]) ** 0.5
        x = bar[i + 1] ** 0.5 * clean + (1 - bar[i + 1]) ** 0.5 * eps
    inferred = generator.infer_noise(images, code, 5, published=True)
    torch.testing.assert_close(inferred, x, atol=1e-4, rtol=1e-4)
