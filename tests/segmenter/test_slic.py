import numpy as np
import pytest
from skimage.segmentation import slic

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.segmenter.slic import SlicSegmenter
from tests.tiny import tiny_image


def test_agrees_with_skimage_from_zero():
    image = Portraits().batch([0]).image
    theirs = slic(
        image[0].permute(1, 2, 0).double().numpy(), n_segments=65, compactness=10, start_label=0, channel_axis=-1
    )
    segments = SlicSegmenter().segment(image)
    assert np.array_equal(segments.label[0].numpy(), np.unique(theirs, return_inverse=True)[1].reshape(64, 64))
    assert segments.label.min() == 0 and 40 <= segments.count[0] <= 65


def test_more_segments_than_pixels_is_refused():
    message = r"segmenter.n_segments must be <= 4096 \(64x64 pixels\), got 5000"
    with pytest.raises(ValueError, match=message):
        SlicSegmenter(n_segments=5000).segment(tiny_image(1, (3, 64, 64)))
    problems = SlicSegmenter.shape_problems({"n_segments": 5000}, (3, 64, 64))
    assert problems == ["segmenter.n_segments must be <= 4096 (64x64 pixels), got 5000"]
    assert SlicSegmenter.shape_problems({}, (3, 8, 8)) == ["segmenter.n_segments must be <= 64 (8x8 pixels), got 65"]
