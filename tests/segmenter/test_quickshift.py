import numpy as np
import pytest

from pomelo_lab.segmenter.quickshift import QuickshiftSegmenter
from tests.tiny import tiny_image


def test_defaults_are_those_of_the_lime_package():
    wrapper = pytest.importorskip("lime.wrappers.scikit_image")
    image = tiny_image(1, (3, 48, 48), seed=3)
    theirs = wrapper.SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=1)(
        image[0].permute(1, 2, 0).double().numpy()
    )
    assert np.array_equal(QuickshiftSegmenter().segment(image).label[0].numpy(), theirs)


def test_smaller_kernels_give_more_segments():
    image = tiny_image(1, (3, 48, 48), seed=3)
    counts = [int(QuickshiftSegmenter(kernel_size=k, max_dist=6, ratio=1.0).segment(image).count) for k in (1, 3)]
    assert counts[0] > counts[1] >= 1
