"""The base of diffusion models: diffusers' U-Net, the noise schedule, and the map between images and network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.compat import ensure
from pomelo_lab.config.hints import Count, Fraction, NotFingerprinted, OmitDefault
from pomelo_lab.generator.base import Generator
from pomelo_lab.generator.diffusion import Prediction, Schedule, Spacing, betas, respace
from pomelo_lab.weights import read_state

if TYPE_CHECKING:
    from pomelo_lab.dataset.base import Dataset


def unet_class() -> type[nn.Module]:
    """diffusers' UNet2DModel, imported when it is needed, its attention kept from a faulty kernel.

    cuDNN's attention, the default on H100, gives NaN gradients for 64 tokens more than a multiple of 128 (the 8x8 of
    our small networks) once all scores of a query lie below -88: its padding overflows (pytorch issue 196678). The
    other kernels are as fast here.
    """
    ensure()
    from diffusers import UNet2DModel

    torch.backends.cuda.enable_cudnn_sdp(False)
    return UNet2DModel


@dataclass(kw_only=True)
class DiffusionModel(Generator):
    """A U-Net that removes Gaussian noise from images, given the timestep.

    Args:
        unshuffle: side of the blocks of pixels that are folded into channels in front of the network and unfolded
            behind it, so that 64x64 images cost a network of 32x32; 1 = none.
        folding: what the channels of a block are: its pixels, or their Haar wavelets (mean, differences): the same
            space turned, in which a smooth block has one large channel and three near zero. Needs unshuffle=2.
        sigma_data: deviation of the images in [-1,1], one number or one per channel of a block: the input is scaled to
            unit variance, and the network predicts, in units of its deviation, what the best linear estimate leaves of
            v (Karras et al. 2022, table 1, here by channel); [1.0] = plain v-prediction = None. "auto": one per channel
            of a block, measured on 1,000 training images when training begins and stored with the weights; a network
            without weights has measured nothing and counts as [1.0].
        widths: channels of the levels, halving the resolution from one to the next.
        layers_per_block: residual blocks per level.
        attention: levels with self-attention, 0 = the finest.
        head_dim: channels per attention head; None = one head.
        norm_groups: of the group norms; divides every width.
        dropout: in the residual blocks.
        unet: other arguments of diffusers' UNet2DModel, which take precedence.
        n_timesteps: T.
        schedule: linear (betas scaled to T) or cosine.
        prediction: what the network predicts.
        variance: of ancestral steps: posterior = fixed; learned = the network has as many channels again, which
            interpolate between the posterior's and beta (Nichol & Dhariwal 2021). A foreign network with twice the
            channels has learned variances, whatever this argument says.
    Shapes: images [M,C,H,W] in [0,1] at the public boundary, `scaled` to [-1,1] inside.
    Cost: one evaluation per image and step.
    """

    unshuffle: Count = 2
    folding: Annotated[Literal["pixels", "haar"], OmitDefault()] = "pixels"
    sigma_data: Annotated[list[float] | Literal["auto"] | None, OmitDefault()] = None
    widths: list[int] = field(default_factory=lambda: [32, 64, 96])
    layers_per_block: Count = 1
    attention: list[int] = field(default_factory=lambda: [2])
    head_dim: Count | None = 16
    norm_groups: Count = 16
    dropout: Fraction = 0.0
    unet: dict[str, Any] = field(default_factory=dict)
    n_timesteps: Count = 1000
    schedule: Literal["linear", "cosine"] = "cosine"
    prediction: Prediction = "v_prediction"
    variance: Annotated[Literal["posterior", "learned"], OmitDefault()] = "posterior"

    recipe: Annotated[str, NotFingerprinted()] = "ddpm_small"

    training = "pomelo_lab.training.ddpm.DDPMTraining"
    ignored = ("sigma_data",)

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Problems of the U-Net's shape, and of how it is preconditioned."""
        yield from unet_problems(given)
        yield from preconditioning_problems(given)

    def unet_model(self, **more: Any) -> nn.Module:
        """A new UNet2DModel of this shape."""
        n, channels = len(self.widths), self.channels * self.unshuffle**2
        arguments = {
            "sample_size": self.size_px // self.unshuffle,
            "in_channels": channels,
            "out_channels": channels * (2 if self.variance == "learned" else 1),
            "block_out_channels": tuple(self.widths),
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple("AttnDownBlock2D" if i in self.attention else "DownBlock2D" for i in range(n)),
            "up_block_types": tuple(
                "AttnUpBlock2D" if i in self.attention else "UpBlock2D" for i in reversed(range(n))
            ),
            "attention_head_dim": self.head_dim,
            "norm_num_groups": self.norm_groups,
            "dropout": self.dropout,
        }
        return unet_class()(**(arguments | more | self.unet))

    def cast(self) -> None:
        # diffusers' own `to` warns of parts to keep in float32, of which there are none
        nn.Module.to(self.network, self.dtype)

    # --- schedule -------------------------------------------------------------------------------------------------

    @cached_property
    def betas(self) -> Tensor:
        """float64 [T]."""
        return betas(self.schedule, self.n_timesteps)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """alpha-bar of every timestep, float64 [T]."""
        return (1 - self.betas).cumprod(0)

    @property
    def predicts(self) -> Prediction:
        return self.prediction

    @property
    def depth(self) -> float:
        """Share of the schedule in which float32 keeps something of the image: all of a linear schedule, 0.98 of one
        that ends in pure noise.

        A cosine schedule ends at an alpha-bar of 2e-9. At 0.98 of it (alpha-bar 1e-3) the round trip of the shipped
        network is twice as exact. A linear schedule ends at 4e-5.
        """
        return 1.0 if float(self.alphas_cumprod[-1]) > 1e-6 else 0.98

    def respace(self, n_steps: int, spacing: Spacing = "trailing", depth: float = 1.0) -> Schedule:
        """A chain of n_steps over the first share `depth` of the timesteps."""
        reach = max(1, round(depth * len(self.alphas_cumprod)))
        return respace(self.alphas_cumprod[:reach], n_steps, spacing)

    # --- network --------------------------------------------------------------------------------------------------

    @staticmethod
    def scaled(images: Tensor) -> Tensor:
        """[0,1] -> [-1,1]."""
        return images * 2 - 1

    @staticmethod
    def unscaled(x: Tensor) -> Tensor:
        """[-1,1] -> [0,1], clamped."""
        return ((x + 1) / 2).clamp(0, 1)

    @property
    def fold(self) -> int:
        """Side of the blocks that the network sees as channels."""
        return self.unshuffle

    @property
    def data_deviation(self) -> list[float] | None:
        """`sigma_data` of the network in use; None = no preconditioning."""
        return None if self.sigma_data == "auto" else self.sigma_data

    def folded(self, x: Tensor) -> Tensor:
        """Images [M,C,H,W] as the network sees them, [M,C*fold^2,H/fold,W/fold]."""
        return self._transformed(F.pixel_unshuffle(x, self.fold)) if self.fold > 1 else x

    def unfolded(self, y: Tensor) -> Tensor:
        """The inverse of `folded`."""
        return F.pixel_shuffle(self._transformed(y), self.fold) if self.fold > 1 else y

    def _transformed(self, y: Tensor) -> Tensor:
        """The Haar transform of each block of pixels (mean; left - right; upper - lower; diagonal).

        It is its own inverse and keeps white noise white. It is written as sums: autocast would round a product of
        matrices to half precision.
        """
        if self.folding == "pixels":
            return y
        a, b, c, d = y.unflatten(1, (-1, 4)).unbind(2)
        return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 2).flatten(1, 2) / 2

    def one_forward(self, images: Tensor) -> Tensor:
        return self.output(images, 1)

    def output(self, x: Tensor, t: Tensor | int, *condition: Tensor) -> Tensor:
        """The network's prediction for x [M,C,H,W] at timestep(s) t under its conditions."""
        t = torch.as_tensor(t, device=x.device).expand(len(x))
        y = self.folded(x)
        if self.data_deviation is None:
            # learned variances: `output_and_share`
            return self.unfolded(self.apply(y, t, *condition)[:, : y.shape[1]])
        c_skip, c_out, deviation = self.preconditioning(y, t)
        return self.unfolded(c_skip * y + c_out * self.apply(y / deviation, t, *condition))

    def preconditioning(self, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(c_skip, c_out, 1 / c_in) of folded images y at timesteps t [M] (Karras et al. 2022, table 1, for v and by
        channel).

        The last is the deviation of y. Dividing by it rounds once; multiplying by c_in would round twice.
        """
        a = self.alphas_cumprod.to(y.device)[t].float()[:, None, None, None]  # no wait for the device: t may lie there
        s = y.new_tensor(self.data_deviation)
        s = s.repeat(y.shape[1] // len(s))[:, None, None]
        deviation = (a * s**2 + 1 - a).sqrt()
        return (a * (1 - a)).sqrt() * (1 - s**2) / deviation**2, s / deviation, deviation

    @property
    def learns_variance(self) -> bool:
        """Whether the network also predicts a variance."""
        return self.network.config["out_channels"] == 2 * self.network.config["in_channels"]

    def output_and_share(self, x: Tensor, t: Tensor | int, *condition: Tensor) -> tuple[Tensor, Tensor]:
        """(`output`, the learned variance) of x [M,C,H,W] at timestep(s) t.

        The variance is given as its share of the way from the posterior's to beta: [M,C,H,W], about [0,1].
        """
        t = torch.as_tensor(t, device=x.device).expand(len(x))
        y = self.folded(x)
        outputs = self.apply(y, t, *condition)
        return self.unfolded(outputs[:, : y.shape[1]]), (self.unfolded(outputs[:, y.shape[1] :]) + 1) / 2

    @abstractmethod
    def sample_grid(self, images: Tensor) -> Tensor:
        """A picture of the training's progress: n images in [0,1], for n images [n,C,H,W] of the validation set."""

    # --- deviation of the data ------------------------------------------------------------------------------------

    def measure_deviation(self, dataset: Dataset, n_images: int = 1000) -> list[float]:
        """Standard deviation of the first images of a data set in [-1,1]: one number per channel of a block, over all
        colours."""
        images = dataset.unmasked(dataset.order()[:n_images].tolist()).image
        blocks = self.folded(self.scaled(images)).unflatten(1, (self.channels, -1))
        return blocks.double().transpose(0, 2).flatten(1).std(1).tolist()

    def training_statistics(self) -> dict[str, Tensor]:
        return (
            {}
            if self.data_deviation is None
            else {"sigma_data": torch.tensor(self.data_deviation, dtype=torch.float64)}
        )

    def load_weights(self) -> None:
        super().load_weights()
        if self.sigma_data == "auto":
            stored = read_state(self.weights, "generator.weights").get("sigma_data")
            if stored is None:
                raise ValueError(
                    f"generator.sigma_data=auto: {self.weights} does not hold what was measured: give the "
                    f"numbers, or null"
                )
            self.sigma_data = stored.tolist()


def unet_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """Reports widths that the group norms do not divide, attention on levels that do not exist, and sides that do not
    halve at every level."""
    widths, groups = given["widths"], given["norm_groups"]
    for width in widths:
        if width % groups:
            yield f"widths must be multiples of norm_groups={groups}, got {width}"
    for level in given["attention"]:
        if not 0 <= level < len(widths):
            yield f"attention names levels 0..{len(widths) - 1}, got {level}"
    head = given["head_dim"] or 1
    # the middle always attends
    for level in {*(a for a in given["attention"] if 0 <= a < len(widths)), len(widths) - 1}:
        if head > widths[level]:
            yield f"head_dim must be <= {widths[level]}, the width of level {level}, got {head}"
    side, fold = given["size_px"], given["unshuffle"] * 2 ** (len(widths) - 1)
    if side and side % fold:
        yield f"size_px must be a multiple of {fold} (unshuffle and {len(widths)} levels), got {side}"


def preconditioning_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """Folding, deviations and variances that do not go together."""
    sigma, n = given["sigma_data"], given["unshuffle"] ** 2
    if given["folding"] == "haar" and given["unshuffle"] != 2:
        yield f"folding=haar needs unshuffle=2, got {given['unshuffle']}"
    if sigma not in (None, "auto"):
        if len(sigma) not in (1, n):
            yield f"sigma_data must be null, auto, one number or unshuffle^2={n}, got {len(sigma)}"
        if any(s <= 0 for s in sigma):
            yield f"sigma_data must be > 0, got {sigma}"
    if sigma is not None and given["prediction"] != "v_prediction":
        yield f"sigma_data needs prediction=v_prediction, got {given['prediction']}"
    if given["variance"] == "learned" and (sigma is not None or given["folding"] != "pixels"):
        yield "variance=learned needs sigma_data=null and folding=pixels: a variance belongs to a pixel"
