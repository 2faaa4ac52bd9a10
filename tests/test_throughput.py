"""A trial finds the size with the least time a row on a made-up clock. Its answers are kept and do not change."""

from __future__ import annotations

import pytest
import torch

from pomelo_lab import throughput
from pomelo_lab.batching import MicroBatches
from pomelo_lab.classifier.base import view
from pomelo_lab.throughput import FastestBatches, fixed_size, micro_batches, watch, without_trial
from tests.tiny import TinyLinear, tiny_image

N = 1000


class Machine:
    """Doubles rows on a clock of its own.

    Args:
        seconds: of a row, by number of rows at once.
        memory: rows that fit.
        disturbed: calls that take ten times as long, counted from 0.
    """

    def __init__(self, seconds: dict[int, float], memory: int = 10**9, disturbed: tuple[int, ...] = ()) -> None:
        self.seconds, self.memory, self.disturbed = seconds, memory, disturbed
        self.now, self.calls, self.asked = 0.0, [], torch.zeros(N)

    def perf_counter(self) -> float:
        return self.now

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        if stop - start > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        slow = 10 if len(self.calls) in self.disturbed else 1
        self.now += slow * (stop - start) * self.seconds.get(stop - start, 1.0)
        self.calls.append(stop - start)
        self.asked[start:stop] += 1
        return 2 * torch.arange(start, stop)


@pytest.fixture
def run(monkeypatch):
    def run(forwards: MicroBatches, machine: Machine, n: int = N) -> MicroBatches:
        monkeypatch.setattr(throughput, "time", machine)
        assert torch.equal(forwards.rows(machine, n), 2 * torch.arange(n))
        assert (machine.asked[:n] == 1).all()  # answers of a trial are kept
        return forwards

    return run


@pytest.mark.parametrize(
    ("seconds", "size", "largest"),
    [
        ({8: 1.0, 16: 1.2}, 8, 16),
        ({8: 1.0, 16: 0.9, 32: 0.8, 64: 0.9}, 32, 64),
        ({8: 1.0, 16: 0.9, 32: 0.8, 64: 0.7, 128: 0.6}, 128, 128),
        ({8: 1.0, 16: 0.99, 32: 0.5}, 8, 16),  # 1 % is no gain: the smaller batch needs less memory
    ],
)
def test_the_fastest_size_is_found_and_larger_ones_than_the_first_slower_one_are_not_tried(run, seconds, size, largest):
    machine = Machine(seconds)
    assert run(FastestBatches("net"), machine).batch_size == size
    assert max(machine.calls) == largest


def test_a_disturbed_size_is_timed_again(run):
    machine = Machine({8: 1.0, 16: 0.5, 32: 0.7}, disturbed=(3, 4))
    assert run(FastestBatches("net"), machine).batch_size == 16


@pytest.mark.parametrize(("memory", "size"), [(20, 16), (3, 2)])
def test_memory_that_runs_out_ends_the_trial_at_a_size_that_fits(run, memory, size):
    machine = Machine({8: 1.0, 16: 0.5, 32: 0.2}, memory)
    assert run(FastestBatches("net"), machine).batch_size == size


def test_a_call_with_few_rows_makes_no_trial(run):
    forwards = run(FastestBatches("net"), few := Machine({}), n=300)
    assert few.calls == [64, 64, 64, 64, 44] and forwards.batch_size == fixed_size("cpu") == 64
    assert run(forwards, Machine({8: 0.5})).batch_size == 8
    assert run(forwards, later := Machine({}), n=20).batch_size == 8 and later.calls == [8, 8, 4]


def test_a_restart_forgets_what_was_found(run):
    forwards = run(FastestBatches("net"), Machine({8: 0.5}))
    forwards.restart()
    assert run(forwards, Machine({64: 0.5, 16: 0.9, 32: 0.8})).batch_size == 64


def test_views_of_a_classifier_share_what_was_found(run):
    classifier = TinyLinear.random(2, (3, 8, 8))
    first = micro_batches("auto", classifier)
    assert run(first, Machine({8: 0.5})) is micro_batches("auto", classifier)
    assert micro_batches(5, classifier).batch_size == 5
    assert without_trial(first).batch_size == 64 and without_trial(few := MicroBatches(5)) is few


def test_answers_do_not_depend_on_the_trial_and_its_size_is_recorded():
    classifier, images = TinyLinear.random(4, (3, 8, 8), dtype=torch.float64), tiny_image(N)
    with watch() as sizes, watch() as outer:
        answers = view(classifier, "black_box", "auto").probability(images)
        view(classifier, "white_box", 3).feature(images[:4])
    assert torch.equal(answers, view(classifier, "black_box", 7).probability(images))
    assert sizes == outer == {"TinyLinear": micro_batches("auto", classifier).batch_size}
    with watch() as nothing:
        pass
    assert nothing == {}
