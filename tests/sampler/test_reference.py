import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.noise import Noise
from pomelo_lab.sampler.reference import ReferenceSampler, convert_shape
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_batch, tiny_image


def test_perturbations_are_images_of_the_source():
    source = Noise(size_px=8, n=5)
    batch = tiny_batch(2)
    perturbations = ReferenceSampler(source=source).perturb(batch, None, 40, RandomStreams(0))
    assert perturbations.keep_mask is None
    known = Perturbations.quantize(source.batch(range(5)).image)
    match = (perturbations.image[:, :, None] == known).flatten(3).all(3)  # [B,N,5]
    assert match.any(2).all() and match.any(1).all()  # every draw is a source image, every source image is drawn


def test_resizes_and_converts_channels():
    batch = tiny_batch(2)
    perturbations = ReferenceSampler(source=Noise(size_px=16, channels=1, n=3)).perturb(
        batch, None, 3, RandomStreams(0)
    )
    assert perturbations.image.shape == (2, 3, 3, 8, 8)
    assert torch.equal(perturbations.image[:, :, 0], perturbations.image[:, :, 1])
    flat = torch.full((1, 3, 20, 20), 0.25)
    torch.testing.assert_close(convert_shape(flat, (1, 8, 8)), torch.full((1, 1, 8, 8), 0.25))
    with pytest.raises(ValueError, match="sampler.source must have 4 channels"):
        convert_shape(tiny_image(1), (4, 8, 8))


def test_an_empty_source_is_refused():
    source = Noise(size_px=8, n=1)
    source.n = 0
    with pytest.raises(ValueError, match="sampler.source must have images"):
        ReferenceSampler(source=source).perturb(tiny_batch(1), None, 2, RandomStreams(0))


def test_another_source_of_the_same_settings_is_another_sampler(tmp_path):
    """Where its files lie does not matter, what they hold does."""
    from pomelo_lab.config.fingerprint import canonical
    from tests.training.test_trained import pictures

    def provenance(source):
        return canonical({"_target_": "pomelo_lab.sampler.reference.ReferenceSampler", "source": source})

    first, second, same = (pictures(tmp_path / str(k), seed) for k, seed in enumerate((1, 2, 1)))
    assert provenance(first) == provenance(same) != provenance(second)
    before = provenance(first)
    pictures(tmp_path / "0", 2)
    assert provenance(first) == provenance(second) != before
    built_in = {"_target_": "pomelo_lab.dataset.noise.Noise", "size_px": 8}
    assert "contents" not in provenance(built_in)["source"]  # stored results of built-in data stay
