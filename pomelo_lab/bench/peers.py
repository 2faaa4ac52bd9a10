"""Whole explanations of this package beside those of other packages, which ask the network as everybody runs it.

Ours asks the network through a runtime, in batches of the fastest size. The other packages ask the same weights as a
plain torch module: operator by operator, without gradients, in torch's default layout, in the fastest of two batch
sizes. captum has no RISE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.deletion import BASE, deletion, gray_portraits, quantus
from pomelo_lab.bench.lime import TARGET, captum, lime, ours
from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.kernel_shap import KernelShapExplainer
from pomelo_lab.explainer.occlusion import OcclusionExplainer
from pomelo_lab.sampler.gray import GraySampler

AT_LEAST = 1.8
SAME = 1e-5  # of the explained probability: random weights hardly react, so that the maps themselves are small
BATCHES = (16, 64)


class Asked(NamedTuple):
    """A torchvision network, and how much it is asked.

    side: of its images in pixels; n: queries of an explanation; n_steps: of the deletion curves of four images.
    """

    name: str
    side: int
    n: int
    n_steps: int


NETWORKS = tuple(
    Asked(name, *sizes) for name in ("resnet18", "densenet121") for sizes in ((64, 400, 64), (224, 80, 16))
)


class Plain(TorchvisionClassifier):
    """A torchvision network as everybody runs it."""

    def apply(self, *inputs: Tensor, eager: bool = False) -> Tensor:
        return self.network.to(memory_format=torch.contiguous_format)(inputs[0].contiguous())


def compare(setting: Setting, networks: Sequence[Asked] = NETWORKS, batch_sizes: Sequence[int] = BATCHES) -> list[Row]:
    """Compares total times and results, for each network and method."""
    return [row for asked in networks for row in one_network(setting, asked, batch_sizes)]


@torch.no_grad()
def one_network(setting: Setting, asked: Asked, batch_sizes: Sequence[int]) -> list[Row]:
    """The rows of one network with images of one side."""
    setting = Setting(size_px=asked.side, repeats=setting.repeats, seed=setting.seed)
    plain, mine = (kind(architecture=asked.name, num_classes=5) for kind in (Plain, TorchvisionClassifier))
    mine.use_runtime("onnxruntime")
    n, patch, rows = asked.n, asked.side // 8, []
    probability = float(plain.probability(setting.batch.image)[0, TARGET])
    window = OcclusionExplainer(sampler=GraySampler(value=BASE), window_px=patch, stride_px=patch // 2)
    shap = KernelShapExplainer(sampler=GraySampler(value=BASE), n_coalitions=n)
    pairs = {
        "LIME, lime": (lime(setting, plain, n), ours(setting, mine, n)),
        "LIME, captum": (captum(setting, plain, n), ours(setting, mine, n)),
        "occlusion, captum": (captum_occlusion(setting, plain, patch), explained(setting, mine, window)),
        "Kernel SHAP, captum": (explained(setting, plain, shap), explained(setting, mine, shap)),
        "deletion, Quantus": curves(setting, plain, mine, asked.n_steps),
    }
    for what, works in pairs.items():
        method, package = what.split(", ")
        timer = Inside()
        fast = {
            who: partial(work, timer.fastest(work, batch_sizes))
            for who, work in zip(("theirs", "ours"), works, strict=True)
        }
        runs = timer.paired(fast, setting.repeats)
        theirs, own = runs["theirs"][-1].result, runs["ours"][-1].result
        note = f"{typical(runs['theirs'], total)} and {typical(runs['ours'], total)}"
        versus = f"{method}, {package} / ours, {asked.name}, {asked.side} px"
        gap = float((theirs - own).abs().max() / probability)
        rows += [
            ratio(
                f"total time, {versus}", (runs["theirs"], total), (runs["ours"], total), at_least=AT_LEAST, note=note
            ),
            Row(f"same answer? {versus}", (gap,), "difference", at_most=SAME, note="of the explained probability"),
        ]
    return rows


def explained(setting: Setting, classifier: Classifier, explainer: Explainer) -> Callable[[int], Tensor]:
    """Prepares a method of this package: a function from the batch size to the map."""
    streams, target = RandomStreams(setting.seed), torch.tensor([TARGET])

    def work(batch_size: int) -> Tensor:
        case = Case(setting.batch, target, view(classifier, explainer.access, batch_size), streams, setting.segments)
        return explainer.explain(case).attribution[0].double()

    return work


def captum_occlusion(setting: Setting, classifier: Classifier, patch: int) -> Callable[[int], Tensor]:
    """Prepares captum's occlusion with a gray patch."""
    from captum.attr import Occlusion

    image = setting.batch.image

    def work(batch_size: int) -> Tensor:
        window = {"sliding_window_shapes": (3, patch, patch), "strides": (3, patch // 2, patch // 2)}
        asked: Any = Occlusion(classifier.probability)
        return asked.attribute(image, target=TARGET, baselines=BASE, perturbations_per_eval=batch_size, **window)[
            0, 0
        ].double()

    return work


def curves(
    setting: Setting, plain: TorchvisionClassifier, mine: TorchvisionClassifier, n_steps: int
) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor]]:
    """Prepares the deletion curves of four images by Quantus and by this package, without their first point."""
    batch, attribution = gray_portraits(setting, 4)
    timer = Inside()
    theirs = quantus(batch, attribution, n_steps, plain, timer)
    our = deletion(batch, attribution, n_steps, mine, timer, setting.seed)
    return lambda _: theirs(), lambda batch_size: our(batch_size)[:, 1:]
