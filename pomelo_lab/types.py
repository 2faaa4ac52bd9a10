"""The values that pass between stages. All are frozen. All their shapes are stated here.

Sizes: B images, N perturbations of each, S segments, C channels (K classes), H x W pixels. Images lie in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T", bound="PerImage")

TOLERANCE = 1e-3  # how far the values of images may lie outside [0,1], for rounding


class NotImages(ValueError):
    """Raised for images whose values are not finite, or lie outside [0,1] by more than rounding."""


def ensure_images(image: Tensor, source: str = "") -> Tensor:
    """The same images.

    Args: source: what gave the images, for the message.
    Raises: NotImages, which says what values they have, unless all are finite and in [0,1].
    """
    if image.numel():
        least, most = image.detach().aminmax()
        if not bool((least > -TOLERANCE) & (most < 1 + TOLERANCE)):  # neither holds for NaN
            finite = image[image.isfinite()]
            n, ends = image.numel() - len(finite), ""
            if len(finite):
                ends = f"{' and ' if n else ''}values from {finite.min():.3g} to {finite.max():.3g}"
            counted = f"{n} that are not finite" if n else ""
            raise NotImages(f"{source}expected finite images {list(image.shape)} in [0,1], got {counted}{ends}")
    return image


def to_8_bits(image: Tensor) -> Tensor:
    """Rounds float images to uint8. Values outside [0,1] are clamped."""
    return image.mul(255).round_().clamp_(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class PerImage:
    """Base of values whose tensors, tuples and mappings of tensors have the image axis first."""

    def _map(self: T, tensors, tuples=lambda t: t) -> T:
        def change(value: Any) -> Any:
            if isinstance(value, Tensor):
                return tensors(value)
            if isinstance(value, Mapping):
                return {name: change(item) for name, item in value.items()}
            return tuples(value) if isinstance(value, tuple) else value

        return replace(self, **{f.name: change(getattr(self, f.name)) for f in fields(self)})

    def to(self: T, device: torch.device | str) -> T:
        """A copy of the values with every tensor on `device`."""
        return self._map(lambda t: t.to(device))

    def select(self: T, index: slice | Sequence[int]) -> T:
        """The values of the chosen images, in the order of the index."""
        rows = range(len(self))[index] if isinstance(index, slice) else list(index)
        positions = torch.as_tensor(list(rows), dtype=torch.long)
        return self._map(lambda t: t[positions.to(t.device)], lambda t: tuple(t[i] for i in rows))

    def __len__(self) -> int:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (Tensor, tuple)):
                return len(value)
        return 0


@dataclass(frozen=True)
class Batch(PerImage):
    """Images and what their data set knows about them. What it does not know is None or empty.

    image:      float32 [B,C,H,W] in [0,1]
    label:      int64 [B], -1 = unknown
    image_id:   B stable names; random streams and result rows are keyed by them
    index:      int64 [B], position in the data set
    masks:      part name -> bool [B,H,W]
    boxes:      part name -> float32 [B,M,4], annotated boxes (left, top, right, bottom) in pixels, right and bottom
                beyond the last pixel; rows of NaN fill up where an image has fewer than M. Ask `box`, which falls back
                on the mask
    attributes: bool [B,A] in the order of Dataset.attribute_names, or None
    factors:    name of a known cause -> [B,...] (portraits only), or None
    """

    image: Tensor
    label: Tensor
    image_id: tuple[str, ...]
    index: Tensor
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    attributes: Tensor | None = None
    factors: Mapping[str, Tensor] | None = None
    boxes: Mapping[str, Tensor] = field(default_factory=dict)

    def box(self, part: str = "label") -> Tensor:
        """Boxes of a part, [B,M,4]: the annotated boxes, or else the tight box of its mask (NaN for an empty mask).

        Raises: ValueError when the images have neither.
        """
        if part in self.boxes:
            return self.boxes[part]
        if part not in self.masks:
            raise ValueError(
                f"no boxes and no mask of {part!r}; there are {', '.join({*self.boxes, *self.masks}) or 'none'}"
            )
        return tight_box(self.masks[part])[:, None]


def tight_box(mask: Tensor) -> Tensor:
    """The smallest box around the True pixels of a mask; NaN for an empty mask.

    Shapes: bool [...,H,W] -> float32 [...,4] (left, top, right, bottom).
    """
    edges = []
    for axis in (-2, -1):  # columns that hold something, then rows
        holds = mask.any(axis)
        size = holds.shape[-1]
        position = torch.arange(size, device=mask.device)
        edges.append((torch.where(holds, position, size).amin(-1), torch.where(holds, position, -1).amax(-1) + 1))
    (left, right), (top, bottom) = edges
    box = torch.stack([left, top, right, bottom], -1).float()
    return box.masked_fill(~mask.flatten(-2).any(-1)[..., None], torch.nan)


@dataclass(frozen=True)
class Segments(PerImage):
    """A partition of each image.

    label: int64 [B,H,W], values 0..count-1
    count: int64 [B], segments of each image
    """

    label: Tensor
    count: Tensor

    @property
    def largest(self) -> int:
        """S: the largest count in the batch, the width of padded per-segment tensors."""
        return int(self.count.max())

    def spread(self, values: Tensor) -> Tensor:
        """Values of segments given to their pixels: [B,N,S] -> [B,N,H,W]."""
        index = self.label.flatten(1)[:, None].expand(-1, values.shape[1], -1)
        return values.gather(2, index).unflatten(2, self.label.shape[1:])

    def sums(self, pixels: Tensor) -> Tensor:
        """Values of pixels summed over each segment: [B,N,H,W] -> [B,N,S]."""
        flat = pixels.flatten(2)
        index = self.label.flatten(1)[:, None].expand(-1, flat.shape[1], -1)
        return flat.new_zeros(*flat.shape[:2], self.largest).scatter_add_(2, index, flat)


@dataclass(frozen=True)
class Perturbations(PerImage):
    """N perturbed versions of each image, in 8 bits per value, as in image files.

    They are quantised once, where they are made. So a result is the same for perturbations that were just made and for
    those that were read back. Kept pixels of an 8-bit image are unchanged.

    image:       uint8 [B,N,C,H,W]
    keep_mask:   bool [B,N,S], segments kept (padding is kept); None when no segments were dropped (full-input samplers)
    probability: float32 [B,N,K] of the explained classifier, or None when not asked yet
    """

    image: Tensor
    keep_mask: Tensor | None = None
    probability: Tensor | None = None

    @staticmethod
    def quantize(image: Tensor) -> Tensor:
        """float [0,1] -> uint8, rounding to nearest.

        Raises: NotImages for NaN, which would become black, and for values outside [0,1].
        """
        return to_8_bits(ensure_images(image))

    @staticmethod
    def dequantize(image: Tensor) -> Tensor:
        """uint8 -> float32 in [0,1]."""
        return image.to(torch.float32).div_(255)

    @property
    def n(self) -> int:
        """Perturbations per image."""
        return self.image.shape[1]

    @property
    def scored(self) -> Perturbations:
        """The perturbations that count in statistics of a sampler: all but perturbation 0.

        Perturbation 0 is the image itself where a sampler keeps it. It is left out for references and generators too,
        so that all rows of a table count equally many images.

        Raises: ValueError when there is no other.
        """
        if self.n < 2:
            raise ValueError(
                f"explainer.n_samples must be >= 2 to score perturbations, got {self.n}: perturbation 0 "
                f"is the image itself"
            )
        known = self.probability
        return Perturbations(
            image=self.image[:, 1:],
            keep_mask=None if self.keep_mask is None else self.keep_mask[:, 1:],
            probability=None if known is None else known[:, 1:],
        )


@dataclass(frozen=True)
class Explanation(PerImage):
    """The explanation of each image: an attribution, a counterfactual, or both.

    target:         int64 [B], the explained class
    attribution:    float32 [B,H,W], larger = speaks more for the target; or None
    counterfactual: float32 [B,C,H,W] in [0,1]; or None
    extra:          named tensors [B,...] (segment coefficients, fit scores)
    """

    target: Tensor
    attribution: Tensor | None = None
    counterfactual: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """The fields as named tensors, for files: extras under "extra."."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        named |= {f"extra.{name}": tensor for name, tensor in self.extra.items()}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Explanation:
        """The inverse of `tensors`."""
        extra = {name.removeprefix("extra."): tensor for name, tensor in tensors.items() if name.startswith("extra.")}
        return cls(**{name: tensor for name, tensor in tensors.items() if not name.startswith("extra.")}, extra=extra)
