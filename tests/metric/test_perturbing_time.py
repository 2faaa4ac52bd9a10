from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric import perturbing_time
from pomelo_lab.metric.perturbing_time import PerturbingTime
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_batch


@dataclass(kw_only=True)
class Clocked(Sampler):
    """Takes a set time per perturbation and segment, on a clock of its own; the first call takes ten times as long."""

    now: ClassVar[float] = 0.0
    calls: ClassVar[list[int]] = []

    def perturb(self, batch, segments, n, streams):
        Clocked.calls.append(n)
        slow = 10 if len(Clocked.calls) == 1 else len(Clocked.calls)
        Clocked.now += slow * (n - 1) * len(batch) * int(segments.count[0]) * 1e-6
        return Perturbations(image=torch.zeros(len(batch), n, *batch.image.shape[1:], dtype=torch.uint8))


@pytest.mark.parametrize("n_segments", [4, 16])
def test_every_score_perturbs_anew_and_the_first_run_does_not_count(monkeypatch, n_segments):
    monkeypatch.setattr(perturbing_time.time, "perf_counter", lambda: Clocked.now)
    Clocked.calls, batch = [], tiny_batch(3, (3, 8, 8))
    metric = PerturbingTime(sampler=Clocked(), n_perturbed=50, n_repeats=5)
    case = Case(
        batch=batch, segments=GridSegmenter(n_segments=n_segments).segment(batch.image), streams=RandomStreams(0)
    )
    rows = metric.score(replace(case, perturbations=None))
    assert Clocked.calls == [51] * 6
    summary = metric.summarize(rows, {})
    assert summary.repeats == pytest.approx([1e-3 * n_segments * k for k in (2, 3, 4, 5, 6)])  # seconds for 1,000
    assert (summary.mean, summary.n) == (pytest.approx(4e-3 * n_segments), 3)
