"""What a data set, a sampler or an explainer gave is compared with what its role promises, before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.types import Batch, Explanation, NotImages, Perturbations, Segments, ensure_images


@contextmanager
def refuse_changes(component: object, image: Tensor) -> Iterator[None]:
    """Raises ValueError where the images that a component was given are changed in place: stages after it would see
    the changed images."""
    before = None if image.is_inference() else image._version
    yield
    if before is not None and image._version != before:
        raise ValueError(f"{name(component)} changed the images that it was given: it must work on a copy")


@contextmanager
def named(component: object) -> Iterator[None]:
    """Puts the name of a component before the message about images that it gives and that are no images."""
    try:
        yield
    except NotImages as error:
        raise ValueError(f"{name(component)}: {error}") from error


def perturb(sampler: Sampler, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
    """The perturbations of a batch, as a sampler gives them. Raises ValueError unless it keeps its promises."""
    with refuse_changes(sampler, batch.image), named(sampler):
        return check_perturbations(sampler, batch.image, n, sampler.perturb(batch, segments, n, streams))


def explain(explainer: Explainer, case: Case) -> Explanation:
    """The explanation of a case, as an explainer gives it. Raises ValueError unless it keeps its promises."""
    with refuse_changes(explainer, case.batch.image), named(explainer):
        return check_explanation(explainer, case.batch.image, explainer.explain(case))


def check_perturbations(sampler: object, image: Tensor, n: int, given: Perturbations) -> Perturbations:
    """The perturbations of images [B,C,H,W]. Raises ValueError unless they are uint8 [B,n,C,H,W]."""
    if not isinstance(given, Perturbations):
        raise ValueError(f"{name(sampler)}: perturb must return Perturbations, got {type(given).__name__}")
    shape = (len(image), n, *image.shape[1:])
    if given.image.dtype != torch.uint8 or given.image.shape != shape:
        raise ValueError(
            f"{name(sampler)}: perturb must return images uint8 {list(shape)}, got {describe(given.image)}"
        )
    return given


def check_explanation(explainer: Explainer, image: Tensor, given: Explanation) -> Explanation:
    """The explanation of images [B,C,H,W]. Raises ValueError unless it has the parts that the explainer declares, in
    the shapes of the images."""
    if not isinstance(given, Explanation):
        raise ValueError(f"{name(explainer)}: explain must return an Explanation, got {type(given).__name__}")
    shapes = {"target": image.shape[:1], "attribution": (len(image), *image.shape[2:]), "counterfactual": image.shape}
    for part, shape in shapes.items():
        value = getattr(given, part)
        if value is not None and value.shape != tuple(shape):
            raise ValueError(f"{name(explainer)}: {part} must be {list(shape)}, got {describe(value)}")
    for part in ("attribution", "counterfactual"):
        gives = explainer.gives_for(vars(explainer))
        if gives is not None and part in gives and getattr(given, part) is None:
            raise ValueError(f"{name(explainer)}: gives names {part}, and explain returned none")
    if given.counterfactual is not None:
        ensure_images(given.counterfactual)
    return given


def name(component: object) -> str:
    """The role and the class of a component, for messages. The role of a user's class is that of its base class."""
    modules = (kind.__module__.split(".") for kind in type(component).__mro__)
    role = next((module[1] for module in modules if module[0] == "pomelo_lab"), "")
    return f"{role} {type(component).__name__}".strip()


def describe(value: Tensor) -> str:
    """The type and the shape of a tensor, for messages."""
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
