"""New images of a generator, scored as if they were perturbations, as a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import NonNegative, OmitDefault
from pomelo_lab.cost import Cost
from pomelo_lab.generator.base import ImageModel
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.types import Batch, Perturbations, Segments


@dataclass(kw_only=True)
class GeneratedSampler(Sampler):
    """Draws unconditional samples of a generator, which do not depend on the image. Their scores are a reference.

    Source: own; a reference row beside the validation images. Departures: none.
    Args:
        generator: the flow. If the config leaves it out, the job's generator is used.
        temperature: deviation of the normals; below 1 = more typical images of a flow (Kingma & Dhariwal 2018 show
            0.7).
    Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
    Cost: one evaluation of a flow per image drawn.
    Random: one normal per value, per (image id, index of the new image).
    """

    generator: ImageModel
    temperature: Annotated[NonNegative, OmitDefault()] = 1.0

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        def make(image: Tensor, draws: RowNoise) -> Tensor:
            return self.generate(draws)

        self.generator.check_images(batch.image)
        streams = streams.named("generated")
        return Perturbations(image=self.generator.perturb(batch.image, batch.image_id, n, streams, make))

    def generate(self, draws: RowNoise) -> Tensor:
        """New images [M,C,H,W] in [0,1], one for each row of the draws."""
        return self.generator.generate(self.temperature * draws.normal(*self.generator.shape))

    def cost(self, n: int) -> Cost:
        return Cost(evaluations=n)
