"""Components small enough to know their answers by hand; shared by tests of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Batch, Segments

# the arguments of a diffusion model on 3x8x8 images that is trained, or untrained, in no time
TINY_UNET = {
    "channels": 3,
    "size_px": 8,
    "unshuffle": 1,
    "widths": [8, 8],
    "attention": [],
    "head_dim": 4,
    "norm_groups": 4,
    "n_timesteps": 100,
}


@dataclass(kw_only=True, eq=False)
class TinyLinear(NetworkClassifier):
    """logit_k = <weight_k, x> + bias_k; penultimate features are the pixels themselves.

    Args:
        weight: [K,C,H,W]; float64 weights make answers that do not depend on the batch size in any digit that is kept.
        bias: [K], None = 0.
        output: "identity" gives the logits as probabilities, for classifiers that are linear in the pixels.
    """

    weight: Tensor
    bias: Tensor | None = None
    output: Literal["softmax", "sigmoid", "identity"] = "softmax"

    def __post_init__(self) -> None:
        super().__post_init__()
        flat = self.weight.detach().flatten(1)
        linear = nn.Linear(flat.shape[1], len(flat), dtype=flat.dtype)
        with torch.no_grad():
            linear.weight.copy_(flat)
            linear.bias.copy_(torch.zeros(len(flat)) if self.bias is None else self.bias)
        self.network = nn.Sequential(nn.Flatten(), linear).eval()
        self.num_classes = len(flat)

    @property
    def head(self) -> nn.Module:
        return self.network[1]

    def normalized(self, images: Tensor) -> Tensor:
        return images.to(self.weight.dtype)

    def probability(self, images: Tensor) -> Tensor:
        return self.logit(images) if self.output == "identity" else super().probability(images)

    def digest(self) -> str:
        return f"tiny-{self.output}-{float(self.weight.double().sum()):.6f}"

    @classmethod
    def random(
        cls,
        n_classes: int,
        shape: Sequence[int],
        seed: int = 0,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float32,
        **options: Any,
    ) -> TinyLinear:
        """Normal weights of a fixed seed."""
        weight = torch.randn(n_classes, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        return cls(weight=weight * scale, **options)


@dataclass(kw_only=True, eq=False)
class TinyDataset(Dataset):
    """Images held in memory; every split is the same images."""

    image: Tensor
    label: Tensor
    split: Literal["train", "val", "test"] = "train"
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_names = tuple(f"class {k}" for k in range(int(self.label.max()) + 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.image.shape[1:])

    def __len__(self) -> int:
        return len(self.image)

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.as_tensor(list(indices), dtype=torch.long)
        masks = {name: mask[index] for name, mask in self.masks.items()}
        return batch_of(
            self.image[index], label=self.label[index], masks=masks, names=[f"tiny-{i}" for i in index.tolist()]
        )

    def digest(self) -> str:
        return f"tiny-{len(self)}-{float(self.image.double().sum()):.6f}"


@dataclass(kw_only=True)
class ConstantFiller(BaseImageFiller):
    """Removed pixels get one value."""

    value: float = 0.0

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return torch.full_like(image, self.value)


def tiny_image(n: int = 4, shape: Sequence[int] = (3, 8, 8), seed: int = 0) -> Tensor:
    """Random 8-bit images in [0,1]: float32 [n,*shape]."""
    drawn = torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(seed))
    return drawn.to(torch.float32) / 255


def tiny_batch(n: int = 4, shape: Sequence[int] = (3, 8, 8), seed: int = 0) -> Batch:
    """Random images with two labels and a mask "label" of about half of the pixels."""
    masks = {"label": torch.rand(n, *shape[1:], generator=torch.Generator().manual_seed(seed + 1)) < 0.5}
    return batch_of(tiny_image(n, shape, seed), label=torch.arange(n) % 2, masks=masks)


def batch_of(
    image: Tensor, label: Tensor | None = None, masks: Mapping[str, Tensor] | None = None, names: Sequence[str] = ()
) -> Batch:
    """A batch of given images [B,C,H,W]; ids "image-0", ... unless named."""
    n = len(image)
    return Batch(
        image=image,
        label=torch.zeros(n, dtype=torch.long) if label is None else label,
        image_id=tuple(names) or tuple(f"image-{i}" for i in range(n)),
        index=torch.arange(n),
        masks=dict(masks or {}),
    )
