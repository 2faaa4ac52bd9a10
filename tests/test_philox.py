"""The counter-based generator: its words are numpy's on every device, its numbers have their distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pomelo_lab import philox

KEYS = [(0, 0), (1, 2), (2**64 - 1, 2**63 + 5), (0x123456789ABCDEF0, 0xFEDCBA9876543210)]
CPU = torch.device("cpu")


@pytest.mark.parametrize("first", [0, 7, 2**31 - 2])
def test_the_arithmetic_of_a_device_gives_the_words_of_numpy(first):
    made, right = (words(KEYS, 9, first, CPU) for words in (philox._words_of_torch, philox._words_of_numpy))
    assert made.shape == (4, 36) and torch.equal(made, right)


def test_words_are_those_of_a_generator_of_numpy():
    """Two blocks of the stream, the second drawn alone."""
    right = np.random.Generator(np.random.Philox(key=np.array([5, 9], dtype=np.uint64))).bit_generator.random_raw(8)
    bits = (right.view(np.uint32) >> 8).astype(np.float32) / 2**24
    whole, second = philox.uniform([(5, 9)], 16), philox.uniform([(5, 9)], 8, first=philox.count_blocks(8))
    assert torch.equal(whole[0], torch.from_numpy(bits)) and torch.equal(second, whole[:, 8:])


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 64])
def test_a_stream_does_not_depend_on_the_others(n):
    for draw in (philox.uniform, philox.normal):
        together = draw(KEYS, n)
        assert together.shape == (4, n) and together.dtype == torch.float32
        assert torch.equal(draw(KEYS[2:], n), together[2:])
    assert philox.normal([], n).shape == (0, n)


def test_uniform_numbers_are_below_1_and_flat():
    drawn = philox.uniform(KEYS, 2**16).double()
    assert drawn.min() >= 0 and drawn.max() < 1
    share = torch.histc(drawn, bins=32, min=0, max=1) / drawn.numel()
    assert (share * 32 - 1).abs().max() < 0.06  # 8,192 of each: 5 standard errors


def test_normal_numbers_have_the_moments_and_the_tail_of_the_normal_distribution():
    drawn = philox.normal(KEYS, 2**16).double()
    moments = torch.stack([(drawn**k).mean() for k in (1, 2, 3, 4)])
    spread = torch.tensor([1, 2, 15, 96]).sqrt() / 2**9  # standard errors of 2**18 numbers
    assert ((moments - torch.tensor([0, 1, 0, 3])).abs() < 5 * spread).all()
    assert (drawn.abs() > 3).double().mean() == pytest.approx(0.0027, rel=0.2)
    first, second = drawn[0], drawn[0].roll(2**15)  # the two numbers of a pair
    assert abs(float((first * second).mean())) < 0.02 and abs(float((first**2 * second**2).mean()) - 1) < 0.08
    assert torch.isfinite(drawn).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_numbers_of_the_cpu():
    assert torch.equal(philox.uniform(KEYS, 1001, device="cuda").cpu(), philox.uniform(KEYS, 1001))
    assert torch.allclose(philox.normal(KEYS, 1001, device="cuda").cpu(), philox.normal(KEYS, 1001), atol=1e-5)
