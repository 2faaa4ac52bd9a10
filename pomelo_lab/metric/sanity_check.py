"""The parameter randomisation test: a map that does not change when the network forgets does not explain the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import named_layer
from pomelo_lab.config.hints import Natural, Range
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.sensitivity import spearman, unit
from pomelo_lab.types import Case


@dataclass(kw_only=True)
class SanityCheck(Metric):
    """Similarity of an image's map to the one after the network's layers were randomised, from the output down; low = the map depends on them.

    Source: Adebayo et al. (2018), https://arxiv.org/abs/1810.03292; paper 002, section 4.1 and Fig. 1; the InputIBA code. The class explained stays
        the one of the intact network; statistics that an explainer measures are measured anew (the code keeps those of the intact network).
        Departures: maps are scaled to [0,1] first, image by image, so that scale does not count (the code compares them as 8-bit images).
    Args:
        layers: names, each randomised with all inside it, in this order and cumulatively; None = the network's top-level parts with weights, from
            the last to the first.
        scheme: "reset", every module's own initialisation, or "inputiba": convolutions Xavier-uniform, linear layers N(0, 0.05), biases 0,
            norms kept.
        similarity: what the value is the mean of, over stages: "ssim" or "spearman".
        absolute: compare magnitudes.
        window_px: of the SSIM, odd.
        seed: of the random weights.
    Shapes: score gives "value" [B], and "ssim" and "spearman" [B,L], one of them once more as "curve"; NaN where a map is constant or not finite.
    Cost: an explanation per layer and image.
    """

    direction: ClassVar = "lower"
    symbol = "Sanity SSIM"
    needs = frozenset({"explanation", "white_box", "anew"})

    layers: list[str] | None = None
    scheme: Literal["reset", "inputiba"] = "reset"
    similarity: Literal["ssim", "spearman"] = "ssim"
    absolute: bool = False
    window_px: Annotated[int, Range(low=3)] = 5
    seed: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.similarity == "spearman":
            self.symbol = "Sanity rank corr."

    def score(self, case: Case) -> dict[str, Tensor]:
        names = self.chosen(case.classifier.network)
        before, found = self.compared(case.explanation.attribution), {"ssim": [], "spearman": []}
        for stage in range(1, len(names) + 1):
            after = self.compared(case.anew(change=lambda network, stage=stage: self.randomise(network, names[:stage])).attribution)
            defined = varied(before) & varied(after)
            for name, alike in (("ssim", self.ssim), ("spearman", rank_correlation)):
                one = alike(unit(before.where(varied(before)[:, None, None], 0)), unit(after.where(varied(after)[:, None, None], 0)))
                found[name].append(one.masked_fill(~defined, torch.nan))
        curves = {name: torch.stack(stages, 1) for name, stages in found.items()}
        return {"value": curves[self.similarity].mean(1), "curve": curves[self.similarity].clone(), **curves}

    def chosen(self, network: nn.Module) -> list[str]:
        """The layers, in the order in which they are randomised. Raises ValueError for unknown ones."""
        if self.layers is None:
            return [name for name, part in reversed(list(network.named_children())) if any(True for _ in part.parameters())]
        for name in self.layers:
            named_layer(network, name)
        return list(self.layers)

    def randomise(self, network: nn.Module, names: Sequence[str]) -> None:
        """New weights for these layers, the same for the same names."""
        for name in names:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(Streams(self.seed).generator(name, "sanity_check").initial_seed())
                for module in network.get_submodule(name).modules():
                    randomised(module, self.scheme)

    def compared(self, maps: Tensor) -> Tensor:
        maps = maps.detach().cpu()
        return maps.abs() if self.absolute else maps

    def ssim(self, one: Tensor, other: Tensor) -> Tensor:
        """scikit-image's structural similarity of each pair [B]."""
        from skimage.metrics import structural_similarity

        pairs = zip(one.numpy(), other.numpy(), strict=True)
        found = [float(structural_similarity(a, b, win_size=self.window_px, data_range=1.0)) for a, b in pairs]
        return torch.tensor(found, dtype=torch.float64)


def varied(maps: Tensor) -> Tensor:
    """Whether each map [B,H,W] is finite and not constant."""
    flat = maps.flatten(1)
    return flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of the pixels of each pair [B]."""
    return torch.tensor([spearman(torch.stack(pair))[0] for pair in zip(one, other, strict=True)], dtype=torch.float64)


@torch.no_grad()
def randomised(module: nn.Module, scheme: str) -> None:
    """New weights for one module, not for those inside it; modules without weights stay."""
    if scheme == "reset":
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
        return
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.normal_(module.weight, 0.0, 0.05)
        if module.bias is not None:
            module.bias.zero_()
