"""Samplers make perturbed versions of images; fillers are the samplers that can fill what a mask removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams, index_pairs
from pomelo_lab.config.hints import Fraction
from pomelo_lab.config.signature import Component
from pomelo_lab.cost import Cost
from pomelo_lab.types import Batch, NotImages, Perturbations, Segments, ensure_images, to_8_bits


class Sampler(Component, ABC):
    """Makes `n` perturbed versions of each image, as Ademi, Noppel & Wressnegger (POMELO,
    https://intellisec.de/research/pomelo) define a sampler.

    uses_segments: whether `perturb` reads the segments. If not, its results serve every segmentation.
    """

    uses_segments: ClassVar[bool] = False

    @abstractmethod
    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        """Makes `n` perturbations of each image.

        Shapes: batch of B images, segments [B,H,W] -> uint8 [B,n,C,H,W] (and keep_mask [B,n,S] when segments were
            dropped).
        Random: streams keyed by image id; perturbation k of an image does not depend on its neighbours.
        """

    def cost(self, n: int) -> Cost:
        """The cost of n perturbations of one image. A sampler without a generator costs no evaluations."""
        return Cost()


VALUES_AT_ONCE = 2**26  # image values filled before they are stored in 8 bits: 256 MiB

Replacement = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Filling:
    """A filler prepared for some images. It fills any number of masks in any order.

    Args:
        image: [B,C,H,W].
        replacement: (row int64 [M], keep [M,H,W], index int64 [M]) -> [M,C,H,W], the pixels for the holes of M masks.
            `row` is the image of each mask; `index` numbers the masks of one image. Random numbers belong to (image
            id, index), so the M masks can be batched in any way.
        merges: whether the replacement already contains the kept pixels.
        base: [B,C,H,W], the replacement of a filler for which neither the mask nor its number matters; otherwise None.
    """

    image: Tensor
    replacement: Replacement
    merges: bool = False
    base: Tensor | None = None

    def __call__(self, row: Tensor, keep: Tensor, index: Tensor) -> Tensor:
        """The filled images [M,C,H,W]."""
        return self.replacement(row, keep, index) if self.merges else self.blend(row, keep, index)

    def blend(self, row: Tensor, keep: Tensor, index: Tensor) -> Tensor:
        """Image and replacement mixed by `keep`. The gradient flows through `keep`, not through the replacement."""
        return torch.lerp(self.replacement(row, keep.detach(), index), self.image[row], keep[:, None])


@dataclass(kw_only=True)
class Filler(Sampler, ABC):
    """A sampler that fills what a keep mask removed. Its perturbations drop random segments and fill them.

    Source: Ribeiro et al. (2016), https://github.com/marcotcr/lime (random segment dropout).
    Args:
        rate: share of segments dropped, independently of each other (POMELO: 0.5; 0.75 for in-painting).
        keep_first: perturbation 0 is the image itself, as in the lime package.
        design: "bernoulli" draws from the job's streams; "lime" draws as the lime package with random_seed=seed does.
    """

    uses_segments: ClassVar[bool] = True
    requirement: ClassVar[str] = "a sampler that can fill what a mask removed, such as black, gray, mean, blur or noise"
    context: ClassVar[str] = "image"  # what a fill looks at: "image" (the mask does not matter) or "mask"

    rate: Fraction = 0.5
    keep_first: bool = True
    design: Literal["bernoulli", "lime"] = "bernoulli"

    @abstractmethod
    def filling(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None = None
    ) -> Filling:
        """Prepares the filler for images [B,C,H,W]. Work that all masks of an image share is done here, once."""

    def fill(
        self,
        image: Tensor,
        keep: Tensor,
        streams: RandomStreams,
        image_ids: tuple[str, ...],
        segments: Segments | None = None,
    ) -> Tensor:
        """Replaces the removed pixels of images. A mask of ones returns the image exactly.

        Shapes: image [B,C,H,W], keep [B,N,H,W] in [0,1] (1 = kept; soft masks blend) -> [B,N,C,H,W].
        """
        row, index = index_pairs(len(image), keep.shape[1], image.device)
        return self.filling(image, streams, image_ids, segments)(row, keep.flatten(0, 1), index).unflatten(
            0, keep.shape[:2]
        )

    def fill_cost(self, n: int) -> Cost:
        """The cost of filling n masks of one image in one call. Masks that keep all may cost less."""
        return Cost()

    def cost(self, n: int) -> Cost:
        return self.fill_cost(n - (self.keep_first and n > 0))

    def keep_mask(self, batch: Batch, segments: Segments, n: int, streams: RandomStreams) -> Tensor:
        """Draws which segments are kept: bool [B,n,S]. The padding of images with fewer segments is kept.

        Each image is drawn at its own number of segments, so that other images of the batch change nothing.
        """
        keep_mask = torch.ones(len(batch), n, segments.largest, dtype=torch.bool)
        for row, image_id, count in zip(keep_mask, batch.image_id, segments.count.tolist(), strict=True):
            row[:, :count] = self.draw(image_id, n, count, streams)
        if self.keep_first and n:
            keep_mask[:, 0] = True
        return keep_mask.to(batch.image.device)

    def draw(self, image_id: str, n: int, count: int, streams: RandomStreams) -> Tensor:
        """Draws which segments of one image are kept: bool [n,count]."""
        if self.design == "bernoulli":
            return streams.uniform([image_id], "segment_dropout", n, count)[0] >= self.rate
        if self.rate != 0.5:
            raise ValueError(f"sampler.rate must be 0.5 with sampler.design=lime, got {self.rate}")
        import numpy as np

        bits = np.random.RandomState(streams.seed).randint(0, 2, n * count).reshape(n, count)
        return torch.from_numpy(bits.astype(bool))

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        if segments is None:
            raise ValueError(f"{type(self).__name__}.perturb drops segments: it needs segments, got None")
        keep = self.keep_mask(batch, segments, n, streams)
        pixels = segments.spread(keep).flatten(0, 1)
        filling = self.filling(batch.image, streams, batch.image_id, segments)

        def fill(row: Tensor, index: Tensor) -> Tensor:
            return Perturbations.quantize(filling(row, pixels[row * n + index].to(batch.image.dtype), index))

        at_once, first = max(1, VALUES_AT_ONCE // batch.image[0].numel()), int(self.keep_first and n > 0)
        row, index = index_pairs(len(batch), n - first, batch.image.device)
        parts = zip(row.split(at_once), (index + first).split(at_once), strict=True)
        # perturbation 0 loses nothing and is not filled
        image = to_8_bits(batch.image)[:, None].expand(-1, first, -1, -1, -1)
        filled = [fill(*part) for part in parts]
        if filled:
            image = torch.cat([image, torch.cat(filled).unflatten(0, (len(batch), n - first))], 1)
        return Perturbations(image=image, keep_mask=keep)


@dataclass(kw_only=True)
class BaseImageFiller(Filler, ABC):
    """A filler with one replacement per image, the base image, which does not depend on the mask."""

    @abstractmethod
    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        """The base image, in which every pixel is replaced: [B,C,H,W] -> [B,C,H,W] in [0,1]."""

    def check_base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        """The base image. Raises ValueError unless it is finite, in [0,1] and of the image's shape."""
        base = self.base(image, streams, image_ids, segments)
        name = f"sampler {type(self).__name__}: base"
        if base.shape != image.shape:
            raise ValueError(f"{name}: expected images {list(image.shape)}, got {list(base.shape)}")
        try:
            return ensure_images(base)
        except NotImages as error:
            raise ValueError(f"{name}: {error}") from None

    def filling(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None = None
    ) -> Filling:
        base = self.check_base(image, streams, image_ids, segments)
        return Filling(image, lambda row, keep, index: base[row], base=base)

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        """The same perturbations as `Filler.perturb`, bit for bit, by a choice between two images in 8 bits.

        Cost: a byte per value (a float blend needs 9), and a block that fits the CPU's cache; 3 ms of one core instead
            of 90 for 800 images of 64x64.
        """
        if segments is None:
            raise ValueError(f"{type(self).__name__}.perturb drops segments: it needs segments, got None")
        keep = self.keep_mask(batch, segments, n, streams)
        base = to_8_bits(self.check_base(batch.image, streams, batch.image_id, segments))
        difference, kept_bits = to_8_bits(batch.image) ^ base, keep.to(torch.uint8).neg_()  # 255 where kept, else 0
        perturbed, (height, width) = base.new_empty(len(batch), n, *base.shape[1:]), base.shape[2:]
        at_once = max(1, (2**20 if base.device.type == "cpu" else 2**26) // (height * width))
        for images, differs, fill, bits, label in zip(
            perturbed, difference, base, kept_bits, segments.label.flatten(1), strict=True
        ):
            for part, rows in zip(images.split(at_once), bits.split(at_once), strict=True):
                mask = rows.gather(1, label.expand(len(rows), -1)).view(-1, 1, height, width)
                torch.bitwise_and(differs, mask, out=part).bitwise_xor_(fill)
        return Perturbations(image=perturbed, keep_mask=keep)


def all_but_first(n_images: int, n: int) -> Tensor:
    """Marks all perturbations but perturbation 0: bool [B,n]."""
    return (torch.arange(n) > 0).expand(n_images, n)
