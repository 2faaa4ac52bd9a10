"""Diffusion models from a local folder of diffusers: network, schedule and prediction are the folder's."""

import json

import pytest
import torch

from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import decode
from tests.generator.test_ddpm import draw, largest, tiny

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def unet():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return diffusers.UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=3,
            block_out_channels=(16, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        ).eval()


@pytest.fixture
def pipeline(unet, tmp_path):
    """A folder as DDIMPipeline.save_pretrained lays it out."""
    unet.save_pretrained(tmp_path / "unet")
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=100, beta_schedule="scaled_linear", prediction_type="sample", beta_end=0.1
    )
    scheduler.save_pretrained(tmp_path / "scheduler")
    return tmp_path


def foreign(folder, **changes):
    return DDPM(**{"channels": 3, "size_px": 8, "weights": str(folder), **changes})


@pytest.mark.parametrize("safe", [True, False])
def test_a_pipeline_s_network_schedule_and_prediction_are_used(unet, pipeline, safe):
    unet.save_pretrained(pipeline / "unet", safe_serialization=safe)
    if not safe:
        (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    generator, x = foreign(pipeline, sigma_data=[0.5]), draw(shape=(3, 8, 8))
    with torch.no_grad():
        expected = unet(x, 40).sample
    torch.testing.assert_close(generator.output(x, 40), expected)
    theirs = diffusers.DDIMScheduler.from_pretrained(pipeline / "scheduler")
    torch.testing.assert_close(generator.alphas_cumprod.float(), theirs.alphas_cumprod)
    assert generator.predicts == "sample" and len(generator.betas) == 100
    torch.testing.assert_close(generator.denoise(x, 40)[0], expected)


def test_sampling_from_a_folder_is_diffusers_sampling(unet, pipeline):
    theirs = diffusers.DDIMScheduler.from_pretrained(
        pipeline / "scheduler", clip_sample=False, timestep_spacing="trailing"
    )
    theirs.set_timesteps(10)
    x = draw(shape=(3, 8, 8))
    with torch.no_grad():
        for t in theirs.timesteps:
            x = theirs.step(unet(x, t).sample, t, x).prev_sample
    generator = foreign(pipeline)
    images = decode(generator.denoise, draw(shape=(3, 8, 8)), generator.respace(10))
    assert largest(images, x) < 1e-4
    sampled = generator.sample(2, torch.Generator().manual_seed(0), n_steps=10)
    torch.testing.assert_close(sampled, generator.unscaled(images), atol=1e-4, rtol=0)


def test_a_network_without_its_scheduler_is_refused_and_one_beside_it_is_found(unet, pipeline, tmp_path_factory):
    """Nothing in a U-Net says what it predicts: our v-prediction on a cosine schedule is not what diffusers' examples
    train."""
    alone = tmp_path_factory.mktemp("alone")
    unet.save_pretrained(alone)
    with pytest.raises(
        ValueError, match=r"alone\d is a U-Net without its scheduler.*DDPMScheduler\(\)\.save_pretrained"
    ):
        foreign(alone, schedule="linear", n_timesteps=50, prediction="epsilon")
    diffusers.DDPMScheduler().save_pretrained(alone / "scheduler")
    assert foreign(alone).predicts == "epsilon" and float(foreign(alone).betas[-1]) == pytest.approx(0.02)
    whole, part = foreign(pipeline), foreign(pipeline / "unet")
    assert part.predicts == whole.predicts == "sample" and torch.equal(part.betas, whole.betas)


def test_learned_variances_are_left_out(tmp_path):
    config = {
        "sample_size": 8,
        "block_out_channels": (16,),
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D",),
        "layers_per_block": 1,
    }
    with torch.random.fork_rng():
        network = diffusers.UNet2DModel(in_channels=3, out_channels=6, up_block_types=("UpBlock2D",), **config).eval()
    network.save_pretrained(tmp_path)
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    x = draw(shape=(3, 8, 8))
    torch.testing.assert_close(foreign(tmp_path).output(x, 3), network(x, 3).sample[:, :3].detach())


def test_our_own_architecture_is_not_asked_of_a_folder(unet, tmp_path):
    """28 pixels do not halve four times, as our defaults would need; the folder's network halves them once."""
    diffusers.UNet2DModel.from_config({**unet.config, "sample_size": 28}).save_pretrained(tmp_path)
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    assert foreign(tmp_path, size_px=28, unshuffle=4).output(draw(1, shape=(3, 28, 28)), 0).shape == (1, 3, 28, 28)


def test_folders_that_do_not_fit_are_refused(unet, pipeline):
    with pytest.raises(
        ValueError, match="generator.weights: .* makes images of 3x8x8, the data set has 3x16x16: set dataset.size_px=8"
    ):
        foreign(pipeline, size_px=16)
    with pytest.raises(ValueError, match="makes images of 3x8x8, the data set has 1x8x8"):
        foreign(pipeline, channels=1)
    with pytest.raises(
        ValueError, match="scheduler is no diffusers folder: expected config.json, or unet/config.json, in it"
    ):
        foreign(pipeline / "scheduler")
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(
        ValueError, match="generator.weights: .*unet holds neither diffusion_pytorch_model.safetensors nor"
    ):
        foreign(pipeline)


def test_a_folder_s_digest_follows_its_scheduler_and_its_network_s_settings(pipeline):
    first = foreign(pipeline).digest()
    assert foreign(pipeline).digest() == first
    scheduler = pipeline / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "epsilon"}))
    second = foreign(pipeline).digest()
    network = pipeline / "unet" / "config.json"
    network.write_text(json.dumps({**json.loads(network.read_text()), "norm_eps": 1e-3}))
    assert len({first, second, foreign(pipeline).digest()}) == 3


def test_attention_is_kept_from_the_kernel_with_nan_gradients(unet, tmp_path):
    unet.save_pretrained(tmp_path)
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        for make in (tiny, lambda: foreign(tmp_path)):
            torch.backends.cuda.enable_cudnn_sdp(True)
            make()
            assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
