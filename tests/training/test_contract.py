"""What holds for the training of every kind of generator: log and samples, averaged weights, seed, and the same numbers
after an interruption."""

import pytest
import torch
from PIL import Image

from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.glow import Glow
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.generator.wavelet_flow import WaveletFlow
from tests.generator import toy

GRAY = {"channels": 1, "size_px": 8}
UNET = {"unshuffle": 2, "widths": [8, 8], "attention": [1], "norm_groups": 4, "head_dim": 4, "n_timesteps": 100}
LEVELS = {"widths": [4], "hidden": [4], "n_couplings": 1, "shares": [0.5], "temperature": [1.0, 1.0]}
COARSE = {"n_leading": 4, "coarse_hidden": 8, "coarse_couplings": 2}
MAKE = {
    "ddpm": lambda: DDPM(**GRAY, **UNET),
    "glow": lambda: Glow(**GRAY, n_flows=2, n_blocks=2, hidden=8),
    "inpainter": lambda: Inpainter(**GRAY, width=8, dilations=[1, 2]),
    "wavelet_flow": lambda: WaveletFlow(**GRAY, **LEVELS, **COARSE),
}
SCORES = {"ddpm": "loss", "glow": "bits_per_value", "inpainter": "l1_in_holes", "wavelet_flow": "bits_per_value"}
# checkpoint and kill: after the first step, which sets what depends on data (actnorm, components) and moves the
# critic's power iterations; in the middle of an epoch, after a row of the log that is written again; at its end
INTERRUPTIONS = [(1, 1), (6, 9), (8, 8)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """name -> (folder, module) of a training that nothing interrupts, made once."""
    finished = {}

    def train(name):
        if name not in finished:
            folder = tmp_path_factory.mktemp(name)
            finished[name] = folder, toy.run_training(MAKE[name](), folder, ema=0.9)
        return finished[name]

    return train


@pytest.mark.parametrize("name", MAKE)
def test_every_validation_has_a_row_of_the_log_and_samples(name, undisturbed):
    folder, module = undisturbed(name)
    rows, score = toy.rows(folder), SCORES[name]
    assert [row["step"] for row in rows] == [4, 8, 12, 16]
    assert all(set(row) == {"step", "loss", f"val_{score}"} for row in rows)
    assert sorted(p.name for p in (folder / "samples").iterdir()) == [f"{row['step']:07d}.png" for row in rows]
    with Image.open(folder / "samples" / "0000016.png") as picture:
        assert picture.size == (8 * 8, 2 * 8) and picture.mode == "RGB"
    # what was validated last is what is kept: the running average
    assert rows[-1][f"val_{score}"] == pytest.approx(module.report[score], rel=1e-5)
    assert not module.network.training and not any(p.requires_grad for p in module.network.parameters())


@pytest.mark.parametrize("ema", [0.15, 0.9])
@pytest.mark.parametrize("name", MAKE)
def test_running_average_by_hand(name, ema, tmp_path):
    """Decay min(ema, (1 + step) / (10 + step)): at 0.15 the limit holds from step 1 on, at 0.9 never within 8 steps."""
    average, after, module = toy.averaged(MAKE[name](), tmp_path, epochs=2, ema=ema)
    for step, weights in enumerate(after):
        decay = min(ema, (1 + step) / (10 + step))
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights, strict=True)]
    assert len(after) == 8 and module.average is None
    for parameter, expected in zip(module.network.parameters(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), expected, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(p, last) for p, last in zip(module.network.parameters(), after[-1], strict=True))


@pytest.mark.parametrize("name", MAKE)
def test_without_average_the_last_weights_are_kept(name, tmp_path):
    _, after, module = toy.averaged(MAKE[name](), tmp_path, epochs=1, ema=0.0)
    assert all(torch.equal(p, last) for p, last in zip(module.network.parameters(), after[-1], strict=True))


@pytest.mark.parametrize(("saved", "killed"), INTERRUPTIONS)
@pytest.mark.parametrize("name", MAKE)
def test_resumed_equals_uninterrupted_bit_for_bit(name, saved, killed, undisturbed, tmp_path, monkeypatch):
    """Weights, log and samples, whatever a kind of network measures or carries beside its parameters."""
    folder, module = undisturbed(name)
    assert toy.interrupted(monkeypatch, MAKE[name](), tmp_path, saved, killed, ema=0.9) == "killed"
    state = toy.run_training(MAKE[name](), tmp_path, ema=0.9).network.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in module.network.state_dict().items())
    assert toy.rows(tmp_path) == toy.rows(folder)
    pictures = [sorted(p.name for p in (path / "samples").iterdir()) for path in (tmp_path, folder)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("name", MAKE)
def test_a_seed_decides_a_training_and_leaves_the_global_generator_alone(name, undisturbed, tmp_path):
    before = torch.random.get_rng_state()
    again = toy.run_training(MAKE[name](), tmp_path / "again", ema=0.9).network.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    expected = undisturbed(name)[1].network.state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in expected.items())
    other = toy.run_training(MAKE[name](), tmp_path / "other", lambda module: setattr(module, "seed", 4), epochs=1)
    same = toy.run_training(MAKE[name](), tmp_path / "same", epochs=1)
    pairs = zip(other.network.parameters(), same.network.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)
