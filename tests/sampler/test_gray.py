import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.gray import GraySampler
from tests.tiny import tiny_batch


@pytest.mark.parametrize("value", [0.5, 0.25])
def test_removed_pixels_have_the_value(value):
    batch = tiny_batch()
    keep = batch.masks["label"]
    filled = GraySampler(value=value).fill(batch.image, keep[:, None].float(), RandomStreams(0), batch.image_id)[:, 0]
    assert torch.equal(filled, torch.where(keep[:, None], batch.image, value))


def test_value_outside_the_range_is_refused():
    with pytest.raises(ValueError, match="sampler.value must be <= 1, got 2.0"):
        GraySampler(value=2.0)
