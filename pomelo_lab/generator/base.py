"""Generators: trained networks that make images, for samplers and explainers to use."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pomelo_lab.batching import ROWS, MicroBatches, RandomStreams, RowNoise, first_rows, with_copies
from pomelo_lab.config.hints import Count, NotFingerprinted
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.types import Perturbations


def images_in(inputs: tuple[Any, ...]) -> Tensor:
    """The images of a forward: its first input, or the first of its parts."""
    return inputs[0] if isinstance(inputs[0], Tensor) else inputs[0][0]


class EvaluationCounter:
    """Images that the generators of this process have evaluated so far."""

    n = 0

    @classmethod
    def add(cls, _: Any, inputs: tuple[Any, ...]) -> None:
        """A forward pre-hook."""
        cls.n += len(images_in(inputs))


class FullRows:
    """Hooks by which a network is asked for full rows (see `in_full_rows`), outside training."""

    def __init__(self, network: nn.Module) -> None:
        self.n: list[int] = []  # rows of the forwards under way, 0 for those that are as they were given
        network.register_forward_pre_hook(self.fill)
        network.register_forward_hook(self.cut)

    def fill(self, network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Inputs with copies of their last row."""
        images = images_in(inputs)
        n = len(images)
        missing = 0 if images.device.type != "cpu" or network.training else -n % ROWS
        self.n.append(n if missing else 0)
        return with_copies(inputs, n, missing) if missing else inputs

    def cut(self, _: nn.Module, __: tuple[Any, ...], answer: Any) -> Any:
        """Answers without those of the copies."""
        n = self.n.pop()
        return first_rows(answer, n, n + -n % ROWS) if n else answer


@dataclass(kw_only=True)
class Generator(TrainableNetwork):
    """A generative network over images of one shape; its own scaling lives inside.

    Args:
        channels, size_px: of the images; None = the job fills in those of the data set.
        batch_size: images evaluated at once; None = the job's, in Python 64.
    """

    stored = torch.float16

    channels: Count | None = None
    size_px: Count | None = None
    batch_size: Annotated[Count | None, NotFingerprinted()] = None

    def __post_init__(self) -> None:
        for name in ("channels", "size_px"):
            if getattr(self, name) is None:
                raise ValueError(
                    f"generator.{name} is missing: the job fills it from the data set, Python users pass it"
                )
        super().__post_init__()
        self.network.register_forward_pre_hook(EvaluationCounter.add)
        FullRows(self.network)
        self.forwards = MicroBatches(self.batch_size or 64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return self.channels, self.size_px, self.size_px

    def one_forward(self, images: Tensor) -> Tensor:
        """One evaluation of images [M,C,H,W], whatever is answered, for the time that a plan foretells;
        differentiable."""
        raise NotImplementedError(f"{type(self).__name__} does not say what one evaluation of its network is")

    def check_images(self, images: Tensor) -> None:
        """Raises ValueError when images [...,C,H,W] are not of the shape that the network was made for."""
        if tuple(images.shape[-3:]) != self.shape:
            raise ValueError(
                f"generator: made for images of {'x'.join(map(str, self.shape))}, got "
                f"{'x'.join(map(str, images.shape[-3:]))}"
            )

    @torch.no_grad()
    def perturbed(
        self,
        images: Tensor,
        image_ids: Sequence[str],
        n: int,
        streams: RandomStreams,
        make: Callable[[Tensor, RowNoise], Tensor],
        chosen: Tensor | None = None,
    ) -> Tensor:
        """n versions of each image.

        Args:
            make: (image [M], draws) -> images [M,C,H,W] in [0,1] for M rows, given as indices of the image.
            chosen: bool [B,n], the versions to make; the others are the images themselves. None = all.
        Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
        Random: as `versions`.
        """
        out = Perturbations.quantize(images)[:, None].repeat(1, n, 1, 1, 1)
        rows = torch.ones(len(images), n, dtype=torch.bool) if chosen is None else chosen.cpu()
        image, version = (index.to(images.device) for index in rows.nonzero(as_tuple=True))
        if len(image):
            out[image, version] = self.versions(
                image_ids, image, version, streams, lambda rows, draws: make(image[rows], draws)
            )
        return out

    @torch.no_grad()
    def versions(
        self,
        image_ids: Sequence[str],
        image: Tensor,
        version: Tensor,
        streams: RandomStreams,
        make: Callable[[slice, RowNoise], Tensor],
    ) -> Tensor:
        """Versions of images, made in micro-batches and stored in 8 bits.

        Args:
            image, version: int64 [M], the image of each row, and the index of the row among the versions of that image.
            make: (rows, draws) -> images [.,C,H,W] in [0,1] of a slice of the rows.
        Shapes: -> uint8 [M,C,H,W], M > 0.
        Random: `draws` per (image id, version), whatever the micro-batch.
        """

        def part(start: int, stop: int) -> Tensor:
            ids = [image_ids[j] for j in image[start:stop].tolist()]
            draws = RowNoise(streams, ids, version[start:stop].tolist(), image.device)
            return Perturbations.quantize(make(slice(start, stop), draws))

        return self.forwards.rows(part, len(image))


@dataclass(kw_only=True)
class ImageModel(Generator):
    """A generator that makes new images from noise."""

    @abstractmethod
    def generate(self, noise: Tensor, **how: Any) -> Tensor:
        """New images from standard normals, both [M,C,H,W]; images in [0,1]."""

    def sample(self, n: int, rng: torch.Generator, temperature: float = 1.0, **how: Any) -> Tensor:
        """n new images [n,C,H,W] in [0,1].

        Args: temperature: deviation of the noise; below 1 = more typical images of a flow. how: options of `generate`.
        Random: all numbers from `rng`, on the CPU, so that they are the same on every device.
        """
        noise = temperature * torch.randn(n, *self.shape, generator=rng)
        return self.forwards(lambda part: self.generate(part.to(self.device), **how), noise)


@dataclass(kw_only=True)
class Flow(ImageModel):
    """An image model that maps images exactly to latents of the same size and back, and knows their density."""

    training = "pomelo_lab.training.flow.FlowTraining"

    def one_forward(self, images: Tensor) -> Tensor:
        return self.encode(images)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images [M,C,H,W] -> latents [M,D], standard normal for images of the model."""

    @abstractmethod
    def unclamped(self, latent: Tensor) -> Tensor:
        """Latents [M,D] -> colours [M,C,H,W] as they are decoded, some of them outside [0,1] where the flow has not
        learned the range."""

    @abstractmethod
    def log_density(self, images: Tensor, place: Tensor | None = None) -> Tensor:
        """log p [M] of images in units of 8-bit bins (of the flow's own bins where it models fewer bits): nats, a lower
        bound of the quantised image's where `place`, its place inside the bin, is uniform in [0,1)."""

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [M,D] -> images [M,C,H,W] in [0,1]."""
        return self.unclamped(latent).clamp(0, 1)

    def generate(self, noise: Tensor) -> Tensor:
        return self.decode(noise.flatten(1))

    def drawn_places(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        """Where in their bins the colours of a training batch are put, [B,C,H,W] on the CPU: uniformly
        (dequantisation)."""
        return torch.rand(shape, generator=rng)

    def training_density(self, images: Tensor, place: Tensor) -> Tensor:
        """log p, mean over images: what training raises."""
        return self.log_density(images, place).mean()
