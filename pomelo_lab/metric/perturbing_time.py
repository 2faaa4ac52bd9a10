"""The time that a sampler takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.sampler.base import Sampler


@dataclass(kw_only=True)
class PerturbingTime(Metric):
    """Wall time of the job's sampler for 1,000 perturbed images. Stored perturbations are not used.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 4.7 and Fig. 10.
        Departures: the median of several runs after a warm-up; what a sampler does once per image (an inversion) is
        shared by the perturbations of one run, as it is for an explanation.
    Args:
        sampler: by default the job's.
        n_perturbed: number of perturbed images per image and run; the image itself does not count.
        n_repeats: number of runs that are timed.
        machine: a name for the machine, which keeps times of machines that share the outputs apart.
    Shapes: score gives "seconds" [B,n_repeats], of 1,000 perturbed images. The summary's repeats are the runs.
    Cost: 1 + n_repeats times the perturbations.
    """

    direction = "lower"
    unit = "s"
    needs = frozenset({"segments"})
    random = True

    sampler: Sampler
    n_perturbed: Count = 1000
    n_repeats: Count = 5
    machine: str = "here"

    def score(self, case: Case) -> dict[str, Tensor]:
        n_images, seconds = len(case.batch), []
        for _ in range(1 + self.n_repeats):
            synchronize(case.batch.image.device)
            start = time.perf_counter()
            self.sampler.perturb(case.batch, case.segments, 1 + self.n_perturbed, case.streams)
            synchronize(case.batch.image.device)
            seconds.append(1000 * (time.perf_counter() - start) / (n_images * self.n_perturbed))
        return {"seconds": torch.tensor(seconds[1:], dtype=torch.float64).expand(n_images, -1).contiguous()}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        runs = tuple(rows["seconds"].mean(0).tolist())
        return Summary(mean=statistics.median(runs), std=None, n=len(rows["seconds"]), repeats=runs)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return (1 + self.n_repeats) * self.sampler.cost(1 + self.n_perturbed)


def synchronize(device: torch.device) -> None:
    """Waits until an accelerator has finished its computations."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
