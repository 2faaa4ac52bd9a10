import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.mean import MeanSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from tests.tiny import tiny_batch


def test_every_segment_gets_its_own_mean_colour():
    batch = tiny_batch()
    segments = GridSegmenter(n_segments=4).segment(batch.image)
    filled = MeanSampler().fill(batch.image, torch.zeros(4, 1, 8, 8), RandomStreams(0), batch.image_id, segments)[:, 0]
    for i in range(4):
        for s in range(4):
            inside = segments.label[i] == s
            expected = batch.image[i][:, inside].mean(1, keepdim=True)
            torch.testing.assert_close(filled[i][:, inside], expected.expand(-1, int(inside.sum())))


def test_without_segments_it_says_so():
    batch = tiny_batch()
    with pytest.raises(ValueError, match="sampler=mean .* needs segments"):
        MeanSampler().fill(batch.image, torch.zeros(4, 1, 8, 8), RandomStreams(0), batch.image_id)
