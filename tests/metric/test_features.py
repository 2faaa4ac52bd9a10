import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.metric.features import training_features
from tests.tiny import TinyDataset, TinyLinear, tiny_image


def dataset(n):
    return TinyDataset(image=tiny_image(n, (1, 2, 2)), label=torch.arange(n) % 3)


def test_the_first_images_of_the_fixed_order_are_read():
    """The features of the tiny network are the pixels."""
    data, box = dataset(300), view(TinyLinear.random(3, (1, 2, 2)), "white_box", 7)
    feature, label = training_features(data, box, 270)
    rows = data.order()[:270].tolist()
    assert torch.equal(label, data.batch(rows).label)
    torch.testing.assert_close(feature.float(), data.batch(rows).image.flatten(1))
    assert len(training_features(data, box, 1000)[0]) == 300


def test_features_that_are_not_finite_name_their_image():
    data, box = dataset(6), view(TinyLinear.random(3, (1, 2, 2)), "white_box", 8)
    data.image[4] = torch.nan
    name = data.batch([4]).image_id[0]
    with pytest.raises(ValueError, match=f"features of .* are not finite for the image {name}"):
        training_features(data, box, 6)
