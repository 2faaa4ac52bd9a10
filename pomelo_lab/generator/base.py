"""Generators: trained generative networks, which samplers and explainers use."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import ROWS, MicroBatches, RandomStreams, RowNoise, first_rows, with_copies
from pomelo_lab.config.hints import Count, NotFingerprinted
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.throughput import micro_batches
from pomelo_lab.types import to_8_bits

log = logging.getLogger(__name__)


def images_in(inputs: tuple[Any, ...]) -> Tensor:
    """The images among the inputs of a forward: the first input, or its first part where it is a list."""
    return inputs[0] if isinstance(inputs[0], Tensor) else inputs[0][0]


class EvaluationCounter:
    """Counts the images that all generators of this process have evaluated."""

    n = 0

    @classmethod
    def add(cls, _: Any, inputs: tuple[Any, ...]) -> None:
        """Add the images of one forward; used as a forward pre-hook."""
        cls.n += len(images_in(inputs))


class FullRows:
    """Two hooks that fill up the batch of a network to a multiple of ROWS, outside training (see `in_full_rows`)."""

    def __init__(self, network: nn.Module) -> None:
        self.n: list[int] = []  # rows before filling up, for each forward under way; 0 = nothing was added
        network.register_forward_pre_hook(self.fill)
        network.register_forward_hook(self.cut)

    def fill(self, network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Inputs filled up with copies of their last row; a forward pre-hook."""
        images = images_in(inputs)
        n = len(images)
        missing = 0 if images.device.type != "cpu" or network.training else -n % ROWS
        self.n.append(n if missing else 0)
        return with_copies(inputs, n, missing) if missing else inputs

    def cut(self, _: nn.Module, __: tuple[Any, ...], answer: Any) -> Any:
        """Outputs without those of the copies; a forward hook."""
        n = self.n.pop()
        return first_rows(answer, n, n + -n % ROWS) if n else answer


@dataclass(kw_only=True)
class Generator(TrainableNetwork):
    """A generative network over images of one shape. Its own input scaling is part of it.

    Args:
        channels, size_px: of the images; None = the job fills in those of the data set.
        batch_size: images evaluated at once; auto = the fastest number, found on the first rows; None = the job's, or
            64 in Python.
    """

    stored = torch.float16

    channels: Count | None = None
    size_px: Count | None = None
    batch_size: Annotated[Count | Literal["auto"] | None, NotFingerprinted()] = None

    def __post_init__(self) -> None:
        for name in ("channels", "size_px"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"generator.{name} is missing: the job fills it from the data set, Python users pass it"
                )
        super().__post_init__()
        self.network.register_forward_pre_hook(EvaluationCounter.add)
        FullRows(self.network)

    @cached_property
    def forwards(self) -> MicroBatches:
        """Micro-batches of evaluations, on the device that the network is on at their first use."""
        return micro_batches(self.batch_size or 64, self, self.device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.channels, self.size_px, self.size_px

    def one_forward(self, images: Tensor) -> Tensor:
        """One evaluation of the network for images [M,C,H,W]; differentiable. A plan measures its time."""
        raise NotImplementedError(f"{type(self).__name__} does not say what one evaluation of its network is")

    def check_images(self, images: Tensor) -> None:
        """Raises ValueError when images [...,C,H,W] are not of the shape that the network was made for."""
        if tuple(images.shape[-3:]) != self.shape:
            raise ValueError(
                f"generator: made for images of {'x'.join(map(str, self.shape))}, got "
                f"{'x'.join(map(str, images.shape[-3:]))}"
            )

    @torch.no_grad()
    def perturb(
        self,
        images: Tensor,
        image_ids: Sequence[str],
        n: int,
        streams: RandomStreams,
        make: Callable[[Tensor, RowNoise], Tensor],
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Make n versions of each image.

        Args:
            make: (index of the image [M], draws) -> images [M,C,H,W] in [0,1].
            chosen: bool [B,n], the versions to make; the others are the images themselves. None = all.
        Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
        Random: as `make_versions`.
        """
        out = to_8_bits(images)[:, None].repeat(1, n, 1, 1, 1)
        rows = torch.ones(len(images), n, dtype=torch.bool) if chosen is None else chosen.cpu()
        image, version = (index.to(images.device) for index in rows.nonzero(as_tuple=True))
        if len(image):
            out[image, version] = self.make_versions(
                image_ids, image, version, streams, lambda rows, draws: make(image[rows], draws)
            )
        return out

    @torch.no_grad()
    def make_versions(
        self,
        image_ids: Sequence[str],
        image: Tensor,
        version: Tensor,
        streams: RandomStreams,
        make: Callable[[slice, RowNoise], Tensor],
    ) -> Tensor:
        """Make versions of images in micro-batches, stored in 8 bits.

        A network may overflow far from its training images. Pixels that are NaN become black, and a warning counts the
        images that have such pixels.

        Args:
            image, version: int64 [M], the image of each row, and the index of the row among the versions of that image.
            make: (rows, draws) -> images [.,C,H,W] in [0,1] of a slice of the rows.
        Shapes: -> uint8 [M,C,H,W], M > 0.
        Random: `draws` per (image id, version), whatever the micro-batch.
        """

        def part(start: int, stop: int) -> Tensor:
            ids = [image_ids[j] for j in image[start:stop].tolist()]
            draws = RowNoise(streams, ids, version[start:stop].tolist(), image.device)
            made = make(slice(start, stop), draws)
            broken[start:stop] = made.isnan().flatten(1).any(1)
            return to_8_bits(made.nan_to_num(0.0, torch.inf, -torch.inf))

        broken = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        versions = self.forwards.rows(part, len(image))
        if n_broken := int(broken.sum()):
            text = "generator %s: %d of %d images that it made have pixels that are not finite (NaN); these are black"
            log.warning(text, type(self).__name__, n_broken, len(image))
        return versions


@dataclass(kw_only=True)
class ImageModel(Generator):
    """A generator that makes new images from noise."""

    @abstractmethod
    def generate(self, noise: Tensor, **how: Any) -> Tensor:
        """New images in [0,1] from standard normals, both [M,C,H,W]."""

    def sample(self, n: int, rng: torch.Generator, temperature: float = 1.0, **how: Any) -> Tensor:
        """n new images [n,C,H,W] in [0,1].

        Args:
            temperature: deviation of the noise; below 1, a flow gives more typical images.
            how: options of `generate`.
        Random: all numbers from `rng`, on the CPU, so that they are the same on every device.
        """
        noise = temperature * torch.randn(n, *self.shape, generator=rng)
        return self.forwards(lambda part: self.generate(part.to(self.device), **how), noise)


@dataclass(kw_only=True)
class Flow(ImageModel):
    """A normalizing flow: it maps images to latents of the same size and back, exactly, and gives their density."""

    training = "pomelo_lab.training.flow.FlowTraining"

    def one_forward(self, images: Tensor) -> Tensor:
        return self.encode(images)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Latents [M,D] of images [M,C,H,W]; those of the model's own images are standard normal."""

    @abstractmethod
    def decode_unclamped(self, latent: Tensor) -> Tensor:
        """Colours [M,C,H,W] decoded from latents [M,D], before they are clamped to [0,1]."""

    @abstractmethod
    def log_density(self, images: Tensor, offset: Tensor | None = None) -> Tensor:
        """Log density [M] of images, in nats, per bin of 8 bits (or of fewer bits where the flow models fewer).

        Args: offset: position of each colour inside its bin, [M,C,H,W]; uniform in [0,1) = dequantisation, whose mean
            log density is a lower bound of the quantised image's. None = as the flow encodes images.
        """

    def decode(self, latent: Tensor) -> Tensor:
        """Images [M,C,H,W] in [0,1] decoded from latents [M,D]."""
        return self.decode_unclamped(latent).clamp(0, 1)

    def generate(self, noise: Tensor) -> Tensor:
        return self.decode(noise.flatten(1))

    def draw_offsets(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        """Dequantisation of a training batch: offsets of the colours inside their bins, uniform, [B,C,H,W] on the
        CPU."""
        return torch.rand(shape, generator=rng)

    def training_density(self, images: Tensor, offset: Tensor) -> Tensor:
        """Mean log density of images: the objective that training maximises."""
        return self.log_density(images, offset).mean()
