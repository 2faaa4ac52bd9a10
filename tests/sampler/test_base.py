import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.sampler.base import BaseImageFiller, Filler
from pomelo_lab.sampler.black import BlackSampler
from pomelo_lab.sampler.blur import BlurSampler
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.sampler.mean import MeanSampler
from pomelo_lab.sampler.noise import NoiseSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations, Segments

BATCH = Portraits(size_px=24, n_val=50).batch([3, 1, 4])
SEGMENTS = GridSegmenter(n_segments=9).segment(BATCH.image)
FILLERS = (BlackSampler(), BlurSampler(sigma_px=2.0), GraySampler(), MeanSampler(), NoiseSampler())


@pytest.mark.parametrize("filler", FILLERS, ids=lambda filler: type(filler).__name__)
def test_stored_choice_equals_the_blend(filler):
    """BaseImageFiller.perturb chooses between stored images; Filler.perturb blends and stores: the same bits."""
    assert isinstance(filler, BaseImageFiller)
    fast = filler.perturb(BATCH, SEGMENTS, 6, RandomStreams(0))
    slow = Filler.perturb(filler, BATCH, SEGMENTS, 6, RandomStreams(0))
    assert torch.equal(fast.image, slow.image) and torch.equal(fast.keep_mask, slow.keep_mask)


@pytest.mark.parametrize("perturb", [Filler.perturb, BaseImageFiller.perturb])
def test_no_segments_is_an_error(perturb):
    with pytest.raises(ValueError, match="needs segments"):
        perturb(GraySampler(), BATCH, None, 6, RandomStreams(0))


def test_lime_design_needs_its_rate():
    with pytest.raises(ValueError, match="sampler.rate must be 0.5"):
        GraySampler(design="lime", rate=0.75).perturb(BATCH, SEGMENTS, 6, RandomStreams(0))


def test_dropped_share_is_the_rate():
    segments = GridSegmenter(n_segments=64).segment(BATCH.image)
    keep = GraySampler(rate=0.75).perturb(BATCH, segments, 201, RandomStreams(0)).keep_mask
    assert abs(float(keep[:, 1:].float().mean()) - 0.25) < 0.01  # 38400 draws: 4.5 standard errors


def test_choices_are_made_block_by_block_of_images_that_have_different_segments():
    """More perturbations than a block holds, and images of different numbers of segments."""
    segments = Segments(SEGMENTS.label.clamp(max=torch.tensor([8, 3, 0])[:, None, None]), torch.tensor([9, 4, 1]))
    fast = GraySampler().perturb(BATCH, segments, 2**20 // 24**2 + 9, RandomStreams(0))
    kept = segments.spread(fast.keep_mask)[:, :, None]
    image, gray = (Perturbations.quantize(x)[:, None] for x in (BATCH.image, torch.full_like(BATCH.image, 0.5)))
    assert torch.equal(fast.image, torch.where(kept, image, gray))
