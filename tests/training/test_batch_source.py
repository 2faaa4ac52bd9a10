"""Which images a step sees follows from the seed and the step."""

import pytest
import torch

from pomelo_lab.training.batch_source import BatchSource
from tests.tiny import TinyDataset, tiny_image


def source(**options):
    data = TinyDataset(image=tiny_image(22), label=torch.arange(22))
    return BatchSource(data, **{"batch_size": 5, "seed": 3, **options})


@pytest.mark.parametrize("options", [{"cache_gb": 0.0}, {"cache_gb": 0.0, "n_workers": 1}])
def test_held_or_read_again_is_the_same(options):
    held, read = source(), source(**options)
    for step in (0, 1, 2, 9, 5):
        a, b = held.batch(step), read.batch(step)
        assert torch.equal(a.image, b.image) and torch.equal(a.label, b.label) and a.image.dtype == torch.uint8


def test_an_epoch_sees_every_image_at_most_once_in_an_order_of_its_own():
    training = source()
    assert training.steps_per_epoch == 4
    epochs = [torch.cat([training.batch(4 * e + i).label for i in range(4)]) for e in range(2)]
    assert all(len(e.unique()) == 20 for e in epochs) and not torch.equal(*epochs)
    assert not torch.equal(epochs[0], torch.cat([source(seed=4).batch(i).label for i in range(4)]))


def test_validation_is_complete_and_a_prefix_of_the_fixed_order():
    validation = source(shuffle=False, n=12)
    assert validation.steps_per_epoch == 3
    labels = torch.cat([validation.batch(i).label for i in range(3)])
    assert torch.equal(labels, validation.dataset.order()[:12])
