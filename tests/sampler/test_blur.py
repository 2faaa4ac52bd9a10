import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.image_arithmetic import blur
from pomelo_lab.sampler.blur import BlurSampler
from tests.tiny import tiny_image


def test_the_base_is_the_blurred_image():
    image = tiny_image(2, (3, 24, 20))
    for sampler, expected in (
        (BlurSampler(), blur(image, 5.0)),
        (BlurSampler(sigma_px=15.0, radius_px=14), blur(image, 15.0, radius_px=14)),
    ):
        assert torch.equal(sampler.base(image, RandomStreams(0), ("a", "b"), None), expected)
