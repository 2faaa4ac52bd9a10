"""Training of diffusion models: the loss by hand, and what ends a training."""

import math

import pytest
import torch

from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.training import loop
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.train import training_of
from tests.generator import toy
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
}
PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def tiny(**changes):
    return DDPM(**{**TINY, **changes})


def wanted(generator, images, t, noise):
    """(noisy images, what the network should say), image by image."""
    xs, targets = [], []
    for x0, step, eps in zip(images * 2 - 1, t.tolist(), noise, strict=True):
        signal, sigma = (
            math.sqrt(float(generator.alphas_cumprod[step])),
            math.sqrt(1 - float(generator.alphas_cumprod[step])),
        )
        xs.append(signal * x0 + sigma * eps)
        targets.append({"epsilon": eps, "sample": x0, "v_prediction": signal * eps - sigma * x0}[generator.prediction])
    return torch.stack(xs), torch.stack(targets)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_by_hand(prediction, monkeypatch):
    generator = tiny(prediction=prediction)
    module, given = training_of(generator, Recipe(**toy.RECIPE), None), batch_of(tiny_image(5, (1, 8, 8)))
    rng = torch.Generator().manual_seed(4)
    torch.rand(4, 5, generator=rng)  # augmentation draws these first
    t, noise = torch.randint(100, (5,), generator=rng), torch.randn(5, 1, 8, 8, generator=rng)
    x, target = wanted(generator, given.image, t, noise)
    torch.testing.assert_close(
        module.loss(module.training_batch(given, torch.Generator().manual_seed(4))),
        (generator.output(x, t) - target).square().mean(),
        rtol=1e-4,
        atol=1e-5,
    )
    monkeypatch.setattr(DDPM, "output", lambda self, x, t: torch.zeros_like(x))
    torch.testing.assert_close(module.error(given.image, t, noise), target.square().mean((1, 2, 3)))


def test_beyond_a_linear_estimate_a_silent_network_has_the_loss_of_wiener_s_filter():
    generator = tiny(sigma_data=[0.2])
    generator.network.conv_out.weight.zero_()
    generator.network.conv_out.bias.zero_()
    module, rng = training_of(generator, Recipe(**toy.RECIPE), None), torch.Generator().manual_seed(0)
    images = 0.5 + 0.1 * torch.randn(64, 1, 8, 8, generator=rng)  # deviation 0.2 in [-1,1]
    noise = torch.randn(images.shape, generator=rng)
    for step in (0, 30, 60, 99):
        t, a = torch.full((64,), step), float(generator.alphas_cumprod[step])
        residual = 0.2**2 / (0.2**2 * a + 1 - a)  # of v, when x0 and noise are independent normals
        assert float(module.error(images, t, noise).mean()) == pytest.approx(residual, rel=0.08)


def test_scores_belong_to_images_not_to_batches():
    module, given = toy.module_of(tiny()), batch_of(tiny_image(4, (1, 8, 8)))
    whole = module.score(given)["loss"]
    parts = torch.cat([module.score(given.select(index))["loss"] for index in ([3, 1], [0], [2])])
    torch.testing.assert_close(parts[[2, 1, 3, 0]], whole)
    assert module.summary({"loss": whole}) == {"loss": pytest.approx(float(whole.mean())), "n": 4}


def test_thirty_steps_lower_the_validation_loss(tmp_path):
    generator = tiny()
    untrained = toy.module_of(generator)
    before = untrained.summary(untrained.score(untrained._unit_images(untrained.validation_source, 0)))["loss"]
    module = toy.run_training(generator, tmp_path, epochs=8, lr=1e-2)
    assert module.total_steps == 32 and module.report["loss"] < 0.8 * before
    assert not module.network.training and not any(p.requires_grad for p in module.network.parameters())


def test_weights_that_are_not_finite_end_a_training_and_the_checkpoint_before_stays(tmp_path):
    def watch(module):
        loss = module.loss
        module.loss = lambda given: loss(given) * (float("nan") if module.global_step == 6 else 1)

    with pytest.raises(
        FloatingPointError,
        match=r"not finite at step 7 \(network.conv_in.weight and \d+ more\): lower "
        r"recipe.lr=0.003",
    ):
        toy.run_training(tiny(), tmp_path, watch, checkpoint_s=0.0)
    held = torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)
    assert held["global_step"] == 6 and all(bool(tensor.isfinite().all()) for tensor in held["state_dict"].values())


def test_global_rng_is_left_alone(tmp_path):
    before = torch.random.get_rng_state()
    toy.run_training(tiny(dropout=0.1), tmp_path, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)
