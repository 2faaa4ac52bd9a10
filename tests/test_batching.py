"""Random streams belong to images; micro-batches change nothing; memory running out is survived."""

from __future__ import annotations

import pytest
import torch

from pomelo_lab.batching import MicroBatches, RandomStreams, RowNoise, runs


def test_a_draw_does_not_depend_on_neighbours_or_order():
    streams = RandomStreams(7)
    together = streams.normal(["a", "b", "c"], "noise", 3, 4)
    assert torch.equal(streams.normal(["c"], "noise", 3, 4)[0], together[2])
    assert torch.equal(streams.normal(["c", "a"], "noise", 3, 4), together[[2, 0]])


def test_seeds_images_and_purposes_are_independent():
    draws = [RandomStreams(s).uniform([i], p, 64) for s in (0, 1) for i in ("a", "b") for p in ("x", "y")]
    correlation = torch.corrcoef(torch.cat(draws)).fill_diagonal_(0)
    assert correlation.abs().max() < 0.5


def test_the_global_generator_is_neither_read_nor_moved():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    RandomStreams(0).permutation(["a"], "order", 3, 10)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_permutations_are_permutations():
    orders = RandomStreams(0).permutation(["a", "b"], "order", 3, 10)
    assert torch.equal(orders.sort(-1).values, torch.arange(10).expand(2, 3, 10))


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_micro_batches_change_nothing(batch_size):
    rows = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(MicroBatches(batch_size)(lambda x: x * 2, rows), rows * 2)


def test_memory_running_out_halves_the_batch_and_keeps_the_numbers():
    sizes = []

    def hungry(x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(x))
        return x + 1

    rows = torch.arange(20.0)
    forwards = MicroBatches(16)
    assert torch.equal(forwards(hungry, rows), rows + 1)
    assert forwards.batch_size == 2 and max(sizes) == 2


def test_a_single_row_that_does_not_fit_and_other_errors_are_raised():
    def fails(_):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        MicroBatches(4)(fails, torch.zeros(4))

    def broken(_):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        MicroBatches(4)(broken, torch.zeros(4))


ROWS = {"image_ids": ["a", "a", "b"], "indices": [0, 3, 3]}


def test_rows_see_the_same_numbers_however_batched():
    """Two calls of different shapes: a row's own sequence, whatever other rows are drawn beside it."""
    whole = RowNoise(RandomStreams(7), **ROWS)
    first, second = whole.normal(3, 4), whole.normal(5)
    for row, pair in enumerate(zip(*ROWS.values(), strict=True)):
        alone = RowNoise(RandomStreams(7), *([value] for value in pair))
        assert torch.equal(alone.normal(3, 4)[0], first[row]) and torch.equal(alone.normal(5)[0], second[row])
    reverse = RowNoise(RandomStreams(7), ROWS["image_ids"][::-1], ROWS["indices"][::-1])
    assert torch.equal(reverse.normal(3, 4).flip(0), first)


def test_calls_images_indices_names_and_seeds_draw_different_numbers():
    kinds = [RowNoise(RandomStreams(seed).named(name), **ROWS) for seed in (7, 8) for name in ("step", "start")]
    normals = torch.cat([draws.normal(400) for draws in kinds for _ in range(2)])
    correlation = torch.corrcoef(normals).fill_diagonal_(0)
    assert len(normals) == 24 and correlation.abs().max() < 0.25  # 276 pairs of 400 values: 5 standard errors
    assert abs(float(normals.mean())) < 0.04 and abs(float(normals.std()) - 1) < 0.03  # 9600 values: 4 standard errors


def test_draws_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    RowNoise(RandomStreams(0), **ROWS).normal(3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_named_streams_are_the_plain_ones_under_a_longer_purpose():
    named, plain = RandomStreams(3).named("game"), RandomStreams(3)
    assert torch.equal(named.uniform(["a"], "noise", 4), plain.uniform(["a"], "game.noise", 4))
    assert torch.equal(named.named("inner").uniform(["a"], "x", 4), plain.uniform(["a"], "game.inner.x", 4))
    assert not torch.equal(named.uniform(["a"], "noise", 4), plain.uniform(["a"], "noise", 4))


def test_neighbours_of_one_number_are_one_run():
    assert list(runs(torch.tensor([3, 3, 1, 3]))) == [(3, slice(0, 2)), (1, slice(2, 3)), (3, slice(3, 4))]
    assert list(runs(torch.tensor([], dtype=torch.long))) == []


def test_fewer_rows_than_asked_for_only_when_memory_runs_out():
    asked, memory = [], 30

    def work(start, stop):
        asked.append(stop - start)
        if stop - start > memory:
            raise torch.OutOfMemoryError("out of memory")
        return torch.arange(start, stop)

    forwards = MicroBatches(8)
    assert torch.equal(forwards.rows(work, 45, at_least=20), torch.arange(45)) and asked == [20, 20, 5]
    asked.clear()
    assert torch.equal(forwards.rows(work, 50, at_least=40), torch.arange(50)) and asked == [40, 20, 20, 10]
    assert forwards.batch_size == 20
