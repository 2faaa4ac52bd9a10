"""The time of neural samplers, relative to the forwards of their networks and to diffusers' schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import MicroBatches, RandomStreams, RowNoise
from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.glow import Glow
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.sampler.black import BlackSampler
from pomelo_lab.sampler.ddim import DDIMSampler
from pomelo_lab.sampler.flow import FlowSampler
from pomelo_lab.sampler.inpaint_ddim import InpaintDDIMSampler
from pomelo_lab.segmenter.slic import SlicSegmenter
from pomelo_lab.types import Perturbations


@dataclass(frozen=True)
class Sizes:
    """The amount of work that is timed.

    Args:
        n: number of perturbations of the diffusion samplers.
        n_flow: number of perturbations of the flow sampler.
        n_single: number of perturbations of the loop with diffusers.
        n_steps: number of steps of the diffusion samplers.
        batch_sizes: batch sizes of the networks. Each network uses its fastest.
        segments: a small and a large number of segments.
    """

    n: int = 128
    n_flow: int = 1000
    n_steps: int = 5
    n_single: int = 16
    batch_sizes: Sequence[int] = (16, 32, 64, 128)
    segments: tuple[int, int] = (10, 70)


@dataclass(frozen=True)
class Work:
    """A sampler with the number of its perturbations, and the forward of its network on rows of images."""

    name: str
    sampler: Sampler
    n: int
    forward: Callable[[Tensor], Tensor]


def compare(setting: Setting, **changes: Any) -> list[Row]:
    """Measures the samplers' overhead, the gain over diffusers, and the effect of the number of segments.

    Args: changes: values of `Sizes` that differ from its defaults.
    """
    sizes = Sizes(**changes)
    shape = {"channels": 3, "size_px": setting.size_px}
    ddpm, glow = DDPM(**shape, prediction="epsilon", schedule="linear"), Glow(**shape)
    flow = FlowSampler(generator=glow)
    ddim = DDIMSampler(generator=ddpm, n_steps=sizes.n_steps)
    inpaint = InpaintDDIMSampler(generator=ddpm, n_steps=sizes.n_steps)
    works = [
        Work("flow", flow, sizes.n_flow, lambda rows: glow.network([*latents(glow, rows)], reverse=True)),
        Work("ddim", ddim, sizes.n, lambda rows: ddpm.output(rows, 500)),
        Work("inpaint_ddim", inpaint, sizes.n, lambda rows: ddpm.output(rows, 500)),
    ]
    rows = [beside_forwards(setting, work, sizes.batch_sizes) for work in works]
    fast = DDPM(**shape, prediction="epsilon", schedule="linear").use_runtime("onnxruntime")
    for work in works[1:]:
        faster = replace(work, sampler=replace(work.sampler, generator=fast))
        rows.append(beside_forwards(setting, faster, sizes.batch_sizes, runtime="onnxruntime"))
    rows += beside_diffusers(setting, ddpm, sizes.n_single, sizes.n_steps)
    return [*rows, over_segments(setting, sizes.segments)]


def latents(glow: Glow, rows: Tensor) -> list[Tensor]:
    """Splits rows of pixels into latents of the shapes that the flow decodes."""
    sizes = glow.latent_shapes
    return [
        part.unflatten(1, size)
        for part, size in zip(rows.flatten(1).split([math.prod(s) for s in sizes], 1), sizes, strict=True)
    ]


@torch.no_grad()
def beside_forwards(setting: Setting, work: Work, batch_sizes: Sequence[int], runtime: str = "") -> Row:
    """The time of n perturbations, divided by the time of their network evaluations alone; or the inverse, the gain
    over the eager network, where the sampler's network has a runtime.

    Both use the eager network's best batch size.
    """
    sampler, generator, n = work.sampler, work.sampler.generator, work.n
    timer, evaluations = Inside(), sampler.cost(n).evaluations
    rows = torch.randn(max(batch_sizes), *generator.shape)

    def bare(batch_size: int, count: int = evaluations) -> None:
        MicroBatches(batch_size).rows(lambda start, stop: work.forward(rows[: stop - start])[:, :1, :1, 0], count)

    bare(batch_sizes[0], batch_sizes[0])
    best = timer.fastest(partial(bare, count=2 * max(batch_sizes)), batch_sizes)
    generator.forwards = MicroBatches(best)
    perturb = partial(sampler.perturb, setting.batch, setting.segments, n, RandomStreams(setting.seed))
    perturb()  # prepares a runtime
    runs = timer.paired({"perturb": perturb, "bare": partial(bare, best)}, setting.repeats)
    if runtime:
        return ratio(
            f"{n} perturbations, bare eager network / {work.name} by {runtime}",
            (runs["bare"], total),
            (runs["perturb"], total),
            at_least=1.3,
            note=f"{typical(runs['bare'], total)} and {typical(runs['perturb'], total)}; batches of {best}",
        )
    return ratio(
        f"{n} perturbations, {work.name} / bare network",
        (runs["perturb"], total),
        (runs["bare"], total),
        at_most=1.10,
        note=f"{typical(runs['perturb'], total)} and {typical(runs['bare'], total)}; {evaluations} evaluations in "
        f"batches of {best}",
    )


@torch.no_grad()
def beside_diffusers(setting: Setting, ddpm: DDPM, n: int, n_steps: int) -> list[Row]:
    """Compares our DDIM sampler with single perturbations by diffusers' DDIMInverseScheduler and DDIMScheduler.

    Both use the same network, noise and images.
    """
    timer, ours = Inside(), DDIMSampler(generator=ddpm, n_steps=n_steps, spacing="leading", keep_first=False)
    ddpm.forwards = MicroBatches(64)
    streams = RandomStreams(setting.seed)
    runs = timer.paired(
        {
            "ours": lambda: ours.perturb(setting.batch, None, n, streams).image[0],
            "stock": lambda: stock(ours, setting, n, streams),
        },
        setting.repeats,
    )
    our_runs, stock_runs = runs["ours"], runs["stock"]
    difference = (our_runs[-1].result.int() - stock_runs[-1].result.int()).abs().float()
    work = f"{n} perturbations of {n_steps} steps"
    return [
        ratio(
            f"ddim, image by image with diffusers / ours, {work}",
            (stock_runs, total),
            (our_runs, total),
            note=f"{typical(stock_runs, total)} and {typical(our_runs, total)}",
        ),
        Row(
            "same ddim images? largest difference",
            (float(difference.max()) / 255,),
            "difference",
            at_most=1 / 255,
            note="8-bit images: one step is 3.9e-03",
        ),
    ]


def stock(sampler: DDIMSampler, setting: Setting, n: int, streams: RandomStreams) -> Tensor:
    """Makes n perturbations, uint8 [n,C,H,W], one after another with diffusers' schedulers."""
    from diffusers import DDIMInverseScheduler, DDIMScheduler

    ddpm, image = sampler.generator, setting.batch.image
    config = {
        "num_train_timesteps": ddpm.n_timesteps,
        "trained_betas": ddpm.betas.float().numpy(),
        "clip_sample": False,
        "set_alpha_to_one": True,
        "timestep_spacing": sampler.spacing,
        "prediction_type": ddpm.predicts,
    }
    inverse, forward = DDIMInverseScheduler(**config), DDIMScheduler(**config)
    inverse.set_timesteps(sampler.n_steps)
    forward.set_timesteps(sampler.n_steps)
    perturbations, noisy = [], ddpm.scaled(image)
    for t in inverse.timesteps:
        noisy = inverse.step(ddpm.output(noisy, t), t, noisy).prev_sample
    for k in range(n):
        x = noisy
        draws = RowNoise(streams.named("ddim"), setting.batch.image_id, [k])
        for t in forward.timesteps:
            noise = draws.normal(*x.shape[1:])
            x = forward.step(ddpm.output(x, t), t, x, eta=sampler.eta, variance_noise=noise).prev_sample
        perturbations.append(Perturbations.quantize(ddpm.unscaled(x)))
    return torch.cat(perturbations)


def over_segments(setting: Setting, counts: tuple[int, int], n: int = 10_000) -> Row:
    """The time of the black sampler with many segments, divided by its time with few segments.

    Args: n: number of perturbations, large enough for a measurable time.
    """
    timer, sampler = Inside(), BlackSampler()
    works = {
        str(count): partial(
            sampler.perturb,
            setting.batch,
            SlicSegmenter(n_segments=count).segment(setting.batch.image),
            n,
            RandomStreams(0),
        )
        for count in counts
    }
    for work in works.values():
        work()
    few, many = (timer.paired(works, setting.repeats)[str(count)] for count in counts)
    return ratio(
        f"{n} perturbations, black, {counts[1]} / {counts[0]} segments",
        (many, total),
        (few, total),
        at_most=1.25,
        note=f"{typical(many, total)} and {typical(few, total)}",
    )
