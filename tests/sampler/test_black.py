import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.black import BlackSampler
from tests.tiny import tiny_batch


def test_removed_pixels_are_zero():
    batch = tiny_batch()
    keep = batch.masks["label"][:, None].float()
    filled = BlackSampler().fill(batch.image, keep, RandomStreams(0), batch.image_id)[:, 0]
    assert torch.equal(filled, batch.image * keep)
