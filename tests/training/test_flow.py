"""Training of flows: bits by hand, and actnorm's first batch."""

import math

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.batching import RandomStreams
from pomelo_lab.generator.glow import Glow
from pomelo_lab.generator.glow_network import ActNorm, Mix
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.train import training_of
from tests.generator import toy
from tests.tiny import batch_of, tiny_image

TINY = {"channels": 1, "size_px": 8, "n_flows": 2, "n_blocks": 2, "hidden": 8}


def tiny(**changes):
    return Glow(**{**TINY, **changes})


def norms(network):
    return [m for m in network.modules() if isinstance(m, ActNorm)]


def test_loss_by_hand():
    """An untrained additive flow only rotates: independent normal logits, the noise places colours inside their
    bins."""
    module = training_of(tiny(coupling="additive"), Recipe(**toy.RECIPE), None)
    given, rng = batch_of(tiny_image(5, (1, 8, 8))), torch.Generator().manual_seed(4)
    torch.rand(4, 5, generator=rng)  # augmentation draws these first
    noise = torch.rand(5, 1, 8, 8, generator=rng)
    y = 0.05 + 0.9 * ((given.image * 255).round() + noise) / 256
    nats = -0.5 * y.logit() ** 2 - 0.5 * math.log(2 * math.pi) + (0.9 / 256 / (y * (1 - y))).log()
    bits = -nats.mean((1, 2, 3)) / math.log(2)
    torch.testing.assert_close(module.bits(given.image, noise), bits, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        module.loss(module.training_batch(given, torch.Generator().manual_seed(4))), bits.mean(), rtol=1e-4, atol=0
    )


def test_scores_belong_to_images_not_to_batches():
    module, given = toy.module_of(tiny()), batch_of(tiny_image(4, (1, 8, 8)))
    whole = module.score(given)["bits"]
    parts = torch.cat([module.score(given.select(index))["bits"] for index in ([3, 1], [0], [2])])
    torch.testing.assert_close(parts[[2, 1, 3, 0]], whole)
    assert module.summary({"bits": whole}) == {"bits_per_value": pytest.approx(float(whole.mean())), "n": 4}


def test_the_matrices_are_thawed_for_training():
    generator = tiny()
    mix = next(m for m in generator.network.modules() if isinstance(m, Mix))
    assert mix.cached is not None
    module = training_of(generator, Recipe(ema=0.9), None)
    mixes = [m for network in (generator.network, module.average) for m in network.modules() if isinstance(m, Mix)]
    assert len(mixes) == 8 and all(m.cached is None and m.cached_inverse is None for m in mixes)


def test_training_lowers_the_bits_and_keeps_the_flow_invertible(tmp_path):
    """8 bits for noise, fewer for two flat images."""
    generator = tiny()
    module = toy.run_training(generator, tmp_path, epochs=8, lr=1e-2, clip_norm=50.0)
    bits = [row["val_bits_per_value"] for row in toy.rows(tmp_path)]
    assert module.report["bits_per_value"] < 5 < bits[0] < 8 and module.report["n"] == 32
    images = toy.two_values().image[:2]
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)
    generator.network.freeze()
    torch.testing.assert_close(generator.decode(generator.encode(images)), images, atol=1e-4, rtol=0)


def test_actnorm_knows_the_first_batch_before_the_first_step(tmp_path):
    generator, seen = tiny(), []

    def watch(module):
        step = module.training_step

        def training_step(*given):
            seen.append([(norm.ready.item(), norm.loc.detach().clone()) for norm in norms(module.network)])
            return step(*given)

        module.training_step = training_step

    module = toy.run_training(generator, tmp_path, watch, epochs=1, ema=0.9)
    assert (
        len(seen) == 4
        and all(ready for step in seen for ready, _ in step)
        and all(norm.ready for norm in norms(module.network))
    )
    images = module._unit_images(module.training_source, 0).image
    rng = RandomStreams(3).generator("", "training step 0")
    torch.rand(4, len(images), generator=rng)
    x, _ = generator.scaled(images, torch.rand(images.shape, generator=rng))
    torch.testing.assert_close(seen[0][0][1], -F.pixel_unshuffle(x, 2).mean((0, 2, 3), keepdim=True))
