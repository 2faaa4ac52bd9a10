import torch

from pomelo_lab.segmenter.felzenszwalb import FelzenszwalbSegmenter


def test_finds_two_flat_halves_and_respects_min_size():
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, :, 16:] = 1
    segments = FelzenszwalbSegmenter(sigma=0.0).segment(image)
    assert segments.count.tolist() == [2]
    assert (segments.label[0, :, :16] == segments.label[0, 0, 0]).all() and (
        segments.label[0, :, 16:] == segments.label[0, 0, 31]
    ).all()
    noisy = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    many = FelzenszwalbSegmenter(scale=1.0, min_size=20).segment(noisy)
    assert many.label[0].flatten().bincount().min() >= 20
