import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.mean_dataset import MeanDatasetSampler
from tests.tiny import TinyDataset, tiny_image

DATA = TinyDataset(image=tiny_image(7), label=torch.arange(7) % 2)


def test_it_is_the_mean_of_the_training_images_channel_by_channel():
    batch, sampler = DATA.batch([0, 3]), MeanDatasetSampler(dataset=DATA)
    filled_images = sampler.fill(batch.image, torch.zeros(2, 1, 8, 8), RandomStreams(0), batch.image_id)[:, 0]
    torch.testing.assert_close(filled_images, DATA.image.mean((0, 2, 3))[:, None, None].expand(2, 3, 8, 8))
    first = DATA.image[DATA.order()[:2]].mean((0, 2, 3))
    torch.testing.assert_close(MeanDatasetSampler(dataset=DATA, n_mean=2).mean[:, 0, 0], first)


def test_a_given_colour():
    assert MeanDatasetSampler(dataset=DATA, color=[0.1, 0.2, 0.3]).mean.flatten().tolist() == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    with pytest.raises(ValueError, match="sampler.color must have 3 values"):
        _ = MeanDatasetSampler(dataset=DATA, color=[0.1]).mean
    with pytest.raises(ValueError, match=r"sampler.color must lie in \[0, 1\]"):
        MeanDatasetSampler(dataset=DATA, color=[124.0, 116.0, 104.0])
