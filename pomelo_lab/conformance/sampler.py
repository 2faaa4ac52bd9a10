"""What every sampler does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.conformance.compare import ensure_same, untouched
from pomelo_lab.conformance.cost import ensure_stages_are_planned
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import NotAsked, Trial, ensure
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.sampler.base import Filler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Batch, Perturbations, Segments

N = 4  # perturbations of each image


def batch_of(trial: Trial) -> Batch:
    """The job's images."""
    return trial.job.batch(0)


def segments_of(trial: Trial) -> Segments:
    """Segments of the job's images, another number of them for each."""
    image = batch_of(trial).image
    parts = [GridSegmenter(n_segments=n).segment(image[i : i + 1]) for i, n in enumerate((9, 16, 4))]
    return Segments(label=torch.cat([part.label for part in parts]), count=torch.cat([part.count for part in parts]))


def perturbed(trial: Trial) -> Perturbations:
    """The job's images, perturbed once for all rules, with the evaluations counted."""

    def make() -> Perturbations:
        before = EvaluationCounter.n
        made = trial.component.perturb(batch_of(trial), segments_of(trial), N, RandomStreams(0))
        trial.memory["evaluations"] = EvaluationCounter.n - before
        return made

    return trial.once("perturbed", make)


def filler(trial: Trial) -> Filler:
    """The component as a filler."""
    if not isinstance(trial.component, Filler):
        raise NotAsked("it is no filler")
    return trial.component


def masks(trial: Trial) -> Tensor:
    """Random keep masks [B,N,H,W]."""
    batch = batch_of(trial)
    return (RandomStreams(1).uniform(batch.image_id, "masks", N, *batch.image.shape[-2:]) < 0.5).float()


def gives_stored_images(trial: Trial) -> None:
    """`perturb` gives uint8 [B,N,C,H,W], and a keep mask of dropped segments."""
    made, batch = perturbed(trial), batch_of(trial)
    shape = (len(batch), N, *batch.image.shape[1:])
    ensure(
        made.image.shape == shape and made.image.dtype == torch.uint8, f"{made.image.dtype} {tuple(made.image.shape)}"
    )
    drops = isinstance(trial.component, Filler)
    ensure((made.keep_mask is not None) == drops, f"a keep mask is given: {made.keep_mask is not None}")


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """Perturbations of an image are the same in any batch and any order."""
    batch, segments = batch_of(trial), segments_of(trial)
    for rows in ([1], [2, 0]):
        part = trial.component.perturb(batch.select(rows), segments.select(rows), N, RandomStreams(0))
        ensure_same(perturbed(trial).select(rows).image, part.image, f"images {rows}")


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images, segments and masks are not changed in place, nor is the global random generator used."""
    batch, segments = batch_of(trial).select([0]), segments_of(trial).select([0])
    with untouched(batch=batch, segments=segments):
        trial.component.perturb(batch, segments, 2, RandomStreams(0))
    if isinstance(trial.component, Filler):
        keep = masks(trial)[:1]
        with untouched(batch=batch, segments=segments, keep=keep):
            trial.component.fill(batch.image, keep, RandomStreams(0), batch.image_id, segments)


def costs_what_it_declares(trial: Trial) -> None:
    """`cost(n)` and the plan of a job say what its networks are asked."""
    perturbed(trial)
    counted, declared = trial.memory["evaluations"], len(batch_of(trial)) * trial.component.cost(N).evaluations
    ensure(
        counted == declared,
        f"{N} perturbations of {len(batch_of(trial))} images: declared {declared}, counted {counted}",
    )
    trial.job.clean(0)
    trial.job.perturbations(0, probability=True)
    ensure_stages_are_planned(trial.job)


def declares_the_segments_it_reads(trial: Trial) -> None:
    """`uses_segments` says whether `perturb` looks at the segments."""
    batch = batch_of(trial)
    if trial.component.uses_segments:
        coarse = replace(segments_of(trial), label=segments_of(trial).label * 0, count=segments_of(trial).count * 0 + 1)
        other = trial.component.perturb(batch, coarse, N, RandomStreams(0))
        ensure(not torch.equal(other.image, perturbed(trial).image), "other segments change nothing")
    else:
        ensure_same(
            perturbed(trial).image, trial.component.perturb(batch, None, N, RandomStreams(0)).image, "without segments"
        )


def keeps_the_first(trial: Trial) -> None:
    """With keep_first perturbation 0 is the image itself, bit for bit."""
    if not getattr(trial.component, "keep_first", False):
        raise NotAsked("it has no keep_first")
    ensure_same(
        perturbed(trial).image[:, 0], Perturbations.quantize(batch_of(trial).image), "perturbation 0 is not the image"
    )


def changes_what_it_dropped_alone(trial: Trial) -> None:
    """Kept pixels are the image; segments that an image has not are kept."""
    filler(trial)
    made, segments, image = perturbed(trial), segments_of(trial), batch_of(trial).image
    for i, count in enumerate(segments.count.tolist()):
        ensure(bool(made.keep_mask[i, :, count:].all()), "segments that an image does not have are dropped")
    index = segments.label.flatten(1)[:, None].expand(-1, N, -1)
    kept = made.keep_mask.gather(2, index).reshape(len(image), N, 1, *image.shape[-2:])
    original = Perturbations.quantize(image)[:, None].expand_as(made.image)
    ensure(torch.equal(made.image.where(kept, original), original), "kept pixels are changed")


def keeps_all_bit_for_bit(trial: Trial) -> None:
    """A mask that keeps all gives the image, bit for bit."""
    batch = batch_of(trial)
    keep = torch.ones(len(batch), 2, *batch.image.shape[-2:])
    filled = filler(trial).fill(batch.image, keep, RandomStreams(0), batch.image_id, segments_of(trial))
    ensure_same(filled, batch.image[:, None].expand(-1, 2, -1, -1, -1), "a mask that keeps all")


def fills_masks_in_any_batch(trial: Trial) -> None:
    """A mask is filled alike alone, with others, and in any order."""
    batch, segments, keep = batch_of(trial), segments_of(trial), masks(trial)
    whole = filler(trial).fill(batch.image, keep, RandomStreams(0), batch.image_id, segments)
    filling = trial.component.filling(batch.image, RandomStreams(0), batch.image_id, segments)
    for row, mask in ([[2, 0, 2, 1, 1], [3, 1, 0, 0, 2]], [[0], [3]]):
        asked = torch.tensor(row), torch.tensor(mask)
        ensure_same(filling(asked[0], keep[asked], asked[1]), whole[asked], f"masks {row}, {mask}", close=1e-5)


def blends_soft_masks(trial: Trial) -> None:
    """A fill blends by soft masks, through which a gradient flows."""
    batch, segments = batch_of(trial), segments_of(trial)
    if filler(trial).context != "image":
        raise NotAsked("what it fills depends on the mask")
    keep = torch.full((len(batch), 1, *batch.image.shape[-2:]), 0.5, requires_grad=True)
    half = trial.component.fill(batch.image, keep, RandomStreams(0), batch.image_id, segments)
    half.sum().backward()
    base = trial.component.fill(batch.image, torch.zeros_like(keep), RandomStreams(0), batch.image_id, segments)
    ensure_same(half.detach(), (batch.image[:, None] + base.detach()) / 2, "half kept is no blend", close=1e-5)
    ensure_same(keep.grad, (batch.image[:, None] - base.detach()).sum(2), "its gradient is another", close=1e-4)


def declares_the_segments_it_fills_by(trial: Trial) -> None:
    """`needs` says whether `fill` looks at the segments."""
    batch, keep = batch_of(trial), masks(trial)
    if "segments" in filler(trial).needs:
        raise NotAsked("it fills segment by segment")
    given, none = (
        trial.component.fill(batch.image, keep, RandomStreams(0), batch.image_id, segments)
        for segments in (segments_of(trial), None)
    )
    ensure_same(given, none, "without segments")


RULES = (
    mirrors_the_constructor,
    gives_stored_images,
    does_not_depend_on_the_batch,
    leaves_its_inputs_alone,
    costs_what_it_declares,
    declares_the_segments_it_reads,
    keeps_the_first,
    changes_what_it_dropped_alone,
    keeps_all_bit_for_bit,
    fills_masks_in_any_batch,
    blends_soft_masks,
    declares_the_segments_it_fills_by,
)
