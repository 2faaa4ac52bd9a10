"""The parameter randomisation test: a map that is unchanged when the network's weights are randomised does not
explain the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import Classifier, NetworkClassifier, WhiteBox
from pomelo_lab.classifier.layers import named_layer
from pomelo_lab.config.hints import Natural, Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.map_similarity import other_images, spearman, unit, varies


@dataclass(kw_only=True)
class SanityCheck(Metric):
    """The similarity of an image's map before and after layers of the network are randomised, from the output down.

    A low similarity shows that the map depends on the weights.

    Source: Adebayo et al. (2018), https://arxiv.org/abs/1810.03292; anonymous authors, "Fisher Divergence for
        Attribution" (undated), https://openreview.net/forum?id=eHIc7SL0sr, section 4.1 and Fig. 1; the InputIBA code.
        The explained class stays that of the intact network; statistics that an explainer measures are measured again
        (the code keeps those of the intact network). Departures: maps are scaled to [0,1] first, image by image, so
        that their scale does not matter (the code compares 8-bit images); the null, the similarity of maps that share
        nothing, is measured too, since two dark maps with a few bright pixels have an SSIM near 1.
    Args:
        layers: names of modules, which are randomised one after the other, each with all modules inside it; None = the
            classifier's `stages`.
        scheme: "reset", every module's own initialisation, or "inputiba": convolutions Xavier-uniform, linear layers
            N(0, 0.05), biases 0, norms and all else kept. With "reset", weights that no initialisation of a module
            covers (class tokens, positions, tables of relative positions, scales of layers) are drawn from N(0, d), d
            their own deviation; a constant's is its magnitude, that of zeros 0.02. Those that the network itself holds,
            outside its parts, go with the last of these.
        similarity: the similarity whose mean over the stages is the value: "ssim" or "spearman".
        absolute: compare magnitudes.
        window_px: side of the SSIM's window, odd.
        seed: seed of the random weights.
    Shapes: score gives "value" [B], and "ssim" and "spearman" [B,L], one of them once more as "curve"; "null_ssim" and
        "null_spearman" [B], the same similarities of the intact map to that of another image (the one before it in its
        stored group, of the first the second; NaN where an image is alone); "above_ssim" and "above_spearman" [B,L],
        the curves minus their null; "fall_ssim" and "fall_spearman" [B], the first stage minus the last. NaN where a
        map is constant or not finite.
    Cost: an explanation per layer and image.
    """

    revision: ClassVar[int] = 2  # 1 had no null, and two stages of a VGG
    direction: ClassVar = "lower"
    needs = frozenset({"explanation", "white_box", "explain_again"})

    layers: list[str] | None = None
    scheme: Literal["reset", "inputiba"] = "reset"
    similarity: Literal["ssim", "spearman"] = "ssim"
    absolute: bool = False
    window_px: Annotated[int, Range(low=3)] = 5
    seed: Natural = 0

    def explanations(self, classifier: Classifier) -> tuple[int, int]:
        return 0, len(self.select_layers(classifier))

    def partners(self, n: int) -> list[int]:
        return other_images(n)

    def score(self, case: Case) -> dict[str, Tensor]:
        names, before = self.select_layers(case.classifier), self.comparable(case.explanation.attribution)
        stages = []
        for stage in range(1, len(names) + 1):
            after = case.explain_again(
                change=lambda network, stage=stage: self.randomise(network, names[:stage])
            ).attribution
            stages.append(self.similarities(before, self.comparable(after)))
        curves = {name: torch.stack([stage[name] for stage in stages], 1) for name in ("ssim", "spearman")}
        null = self.null(before)
        return {
            "value": curves[self.similarity].mean(1),
            "curve": curves[self.similarity].clone(),
            **curves,
            **{f"null_{name}": value for name, value in null.items()},
            **{f"above_{name}": curves[name] - null[name][:, None] for name in null},
            **{f"fall_{name}": curves[name][:, 0] - curves[name][:, -1] for name in null},
        }

    def similarities(self, maps: Tensor, others: Tensor) -> dict[str, Tensor]:
        """Both similarities of each pair of maps [B,H,W]: [B] each, NaN where a map is constant or not finite."""
        defined = varies(maps) & varies(others)
        first, second = (unit(m.where(varies(m)[:, None, None], 0)) for m in (maps, others))
        measures = {"ssim": self.ssim, "spearman": rank_correlation}
        return {name: alike(first, second).masked_fill(~defined, torch.nan) for name, alike in measures.items()}

    def null(self, maps: Tensor) -> dict[str, Tensor]:
        """The similarities of each map to the map of the previous image; for the first image to that of the second."""
        if len(maps) < 2:
            return {name: torch.full((len(maps),), torch.nan, dtype=torch.float64) for name in ("ssim", "spearman")}
        return self.similarities(maps, maps[self.partners(len(maps))])

    def select_layers(self, classifier: WhiteBox | NetworkClassifier) -> list[str]:
        """The layers in the order in which they are randomised. Raises: ValueError for unknown ones."""
        if self.layers is None:
            return list(classifier.stages)
        for name in self.layers:
            named_layer(classifier.network, name)
        return list(self.layers)

    def randomise(self, network: nn.Module, names: Sequence[str]) -> None:
        """Gives these layers new weights, which depend only on their names and the seed."""
        for name in names:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(RandomStreams(self.seed).generator(name, "sanity_check").initial_seed())
                for module in network.get_submodule(name).modules():
                    randomise_module(module, self.scheme)
        inside = {id(module) for name in names for module in network.get_submodule(name).modules()}
        holding = [
            module
            for module in network.modules()
            if id(module) not in inside and any(True for _ in module.parameters(recurse=False))
        ]
        if holding == [network]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(RandomStreams(self.seed).generator("", "sanity_check").initial_seed())
                randomise_module(network, self.scheme)

    def comparable(self, maps: Tensor) -> Tensor:
        """Prepares maps for the comparison: on the CPU, and as magnitudes with `absolute`."""
        maps = maps.detach().cpu()
        return maps.abs() if self.absolute else maps

    def ssim(self, maps: Tensor, others: Tensor) -> Tensor:
        """scikit-image's structural similarity of each pair [B]."""
        from skimage.metrics import structural_similarity

        pairs = zip(maps.numpy(), others.numpy(), strict=True)
        scores = [float(structural_similarity(a, b, win_size=self.window_px, data_range=1.0)) for a, b in pairs]
        return torch.tensor(scores, dtype=torch.float64)


def rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's correlation of the pixels of each pair [B]."""
    return torch.tensor(
        [spearman(torch.stack(pair))[0] for pair in zip(maps, others, strict=True)], dtype=torch.float64
    )


@torch.no_grad()
def randomise_module(module: nn.Module, scheme: str) -> None:
    """Gives one module new weights, but not the modules inside it."""
    if scheme == "reset":
        before = [(weight, weight.clone()) for weight in module.parameters(recurse=False)]
        # the latter: attention
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            reset()
        for weight, old in before:
            differs = bool((old != old.flatten()[:1]).any())  # the deviation of equal numbers may be a rounding error
            size = float(old.double().std(correction=0)) if differs else 0.0
            # a norm that was never trained is what its reset makes of it
            if torch.equal(weight, old) and (size or reset is None):
                size = size or float(old.abs().amax()) or 0.02
                weight.copy_(torch.randn(weight.shape) * size)
        return
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.normal_(module.weight, 0.0, 0.05)
        if module.bias is not None:
            module.bias.zero_()
