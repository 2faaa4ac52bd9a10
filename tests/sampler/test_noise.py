import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.noise import NoiseSampler


def test_moments_range_and_one_base_per_image():
    image = torch.zeros(2, 3, 64, 64)
    sampler = NoiseSampler(mean=0.4, sigma=0.1)
    base = sampler.base(image, RandomStreams(0), ("a", "b"), None)
    assert abs(float(base.mean()) - 0.4) < 0.003 and abs(float(base.std()) - 0.1) < 0.003  # 24576 values
    assert base.min() >= 0 and base.max() <= 1 and not torch.equal(base[0], base[1])
    filled = sampler.fill(image, torch.zeros(2, 2, 64, 64), RandomStreams(0), ("a", "b"))
    assert torch.equal(filled[:, 0], filled[:, 1]) and torch.equal(filled[:, 0], base)
    assert torch.equal(
        NoiseSampler(mean=0.5, sigma=0).base(image, RandomStreams(0), ("a", "b"), None), torch.full_like(image, 0.5)
    )
