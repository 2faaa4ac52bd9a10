"""Whether a job costs what its plan says: counted in the shards that it stores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from pomelo_lab.conformance.trial import ensure
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import Step, plan_steps, sum_steps
from pomelo_lab.engine.store import Shard, read_shard

STAGES = {
    "clean": "clean images",
    "perturbation": "perturbations",
    "prediction": "predictions",
    "explanation": "explanations",
}


def shards(outputs: Path, *kinds: str) -> list[Shard]:
    """What is stored of some kinds of artefacts, or of all."""
    return [
        read_shard(path)
        for path in outputs.rglob("*.safetensors")
        if not kinds or path.parts[len(outputs.parts)] in kinds
    ]


def image_bytes(stored: Iterable[Shard], side: int) -> int:
    """Bytes of images, maps and answers: what a plan states."""
    tensors = [(name, tensor) for shard in stored for name, tensor in shard.tensors.items()]
    return sum(t.nbytes for name, t in tensors if t.shape[-2:] == torch.Size((side, side)) or name == "probability")


def ensure_planned(step: Step, stored: Iterable[Shard]) -> None:
    """Breaks where stored shards cost other than a step of the plan."""
    for kind in ("evaluations", "queries"):
        counted = sum(shard.meta.get(kind, 0) for shard in stored)
        planned = getattr(step, kind)
        holds = counted <= planned if step.at_most else counted == planned
        limit = "at most " if step.at_most else ""
        ensure(holds, f"{step.name}: declared {limit}{planned} {kind}, counted {counted}")


def ensure_stages_are_planned(job: Job) -> None:
    """Breaks where a stage costs other than its step, or stores another number of bytes."""
    planned, side = {step.name: step for step in plan_steps(job)}, job.parts.dataset.shape[-1]
    for kind, name in STAGES.items():
        stored, step = shards(job.store.root, kind), planned.get(name, Step(name, 0))
        ensure_planned(step, stored)
        counted = image_bytes(stored, side)
        ensure(counted == step.bytes, f"{name}: declared {step.bytes} bytes, stored {counted}")
    if "statistics" in planned:
        parts = (shard.tensors.get("image") for shard in shards(job.store.root, "part"))
        counted = sum(image.nbytes for image in parts if image is not None)
        ensure(counted == planned["statistics"].bytes, f"statistics: stored {counted} bytes of images")


def ensure_all_is_planned(job: Job) -> None:
    """Breaks where all that a job has stored, whatever stage it belongs to, costs other than the whole plan."""
    ensure_planned(sum_steps(plan_steps(job), "all", 0), shards(job.store.root))
