"""A counter-based random number generator, whose numbers are the same on every device.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011:
Philox4x64 with 10 rounds. Word i of a stream is a function of the key and of i alone, so that streams of different keys
are drawn side by side, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # added to the key after every round
BLOCK = 4  # 64-bit words that one counter gives
LOW = 0xFFFFFFFF

Key = tuple[int, int]  # two unsigned numbers of 64 bits


def count_blocks(n: int) -> int:
    """Counters that n random numbers use up: each gives eight numbers."""
    return math.ceil(n / (2 * BLOCK))


def uniform(keys: Sequence[Key], n: int, first: int = 0, device: torch.device | str = "cpu") -> Tensor:
    """U[0,1) float32 [keys,n], multiples of 2**-24.

    Args: first: counter of the first block; a caller who goes on with a stream adds `count_blocks` of what it drew.
    """
    return _bits(keys, n, first, torch.device(device)).float().mul_(2.0**-24)


def normal(keys: Sequence[Key], n: int, first: int = 0, device: torch.device | str = "cpu") -> Tensor:
    """N(0,1) float32 [keys,n] by the transform of Box and Muller (1958), at most 5.8 in size.

    Two devices agree to the rounding of their logarithm and sine. Args: first: as for `uniform`.
    """
    first_half, second_half = _bits(keys, n + n % 2, first, torch.device(device)).float().chunk(2, dim=1)
    radius = first_half.add(1).mul_(2.0**-24).log_().mul_(-2).sqrt_()  # of (0,1]
    angle = second_half.mul(2 * math.pi * 2.0**-24)
    return torch.cat([radius * angle.cos(), radius.mul_(angle.sin_())], dim=1)[:, :n]


def _bits(keys: Sequence[Key], n: int, first: int, device: torch.device) -> Tensor:
    """Random 24-bit numbers, int32 [keys,n]."""
    words, blocks = _words_of_numpy if device.type == "cpu" else _words_of_torch, count_blocks(n)
    made = words(keys, blocks, first, device).flatten().view(torch.int32).reshape(len(keys), 2 * BLOCK * blocks)
    return made[:, :n].bitwise_right_shift(8).bitwise_and_(2**24 - 1)


def _words_of_numpy(keys: Sequence[Key], blocks: int, first: int, device: torch.device) -> Tensor:
    """Words of the streams by numpy, whose generator counts up before each block: int64 [keys,4*blocks]."""
    out = np.empty((len(keys), BLOCK * blocks), dtype=np.uint64)
    for row, key in zip(out, keys, strict=True):
        row[:] = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=first).random_raw(len(row))
    return torch.from_numpy(out.view(np.int64)).to(device)


def _words_of_torch(keys: Sequence[Key], blocks: int, first: int, device: torch.device) -> Tensor:
    """The same words by integer arithmetic on a device. Signed numbers wrap as unsigned ones do."""
    counter = torch.arange(first + 1, first + 1 + blocks, device=device).expand(len(keys), blocks)
    zero = torch.zeros_like(counter)
    words = (counter, zero, zero, zero)
    key = torch.tensor([[_signed(part) for part in key] for key in keys], dtype=torch.int64, device=device)
    key = key.view(len(keys), 2, 1)
    for k in range(ROUNDS):
        left, right = (key[:, i] + _signed(k * WEYL[i]) for i in (0, 1))
        high = [_high_product(words[2 * i], MULTIPLIERS[i]) for i in (0, 1)]
        low = [words[2 * i] * _signed(MULTIPLIERS[i]) for i in (0, 1)]
        words = (high[1] ^ words[1] ^ left, low[1], high[0] ^ words[3] ^ right, low[0])
    return torch.stack(words, dim=-1).flatten(1)


def _high_product(words: Tensor, factor: int) -> Tensor:
    """The upper 64 bits of the product of unsigned 64-bit numbers, from products of their halves."""
    below, above = words & LOW, _upper(words)
    factor_below, factor_above = factor & LOW, factor >> 32
    crossed, other = below * factor_above, above * factor_below
    carried = _upper(below * factor_below) + (crossed & LOW) + (other & LOW)
    return above * factor_above + _upper(crossed) + _upper(other) + _upper(carried)


def _upper(words: Tensor) -> Tensor:
    """The upper 32 bits of unsigned 64-bit numbers."""
    return (words >> 32) & LOW


def _signed(number: int) -> int:
    """The signed 64-bit number with the bits of an unsigned one; larger numbers lose their upper bits."""
    return ((number + 2**63) % 2**64) - 2**63
