"""Whole explanations of this package beside those of other packages, which ask the network as everybody runs it.

Ours asks the network through a runtime, in batches of the fastest size. The other packages ask the same weights as a
plain torch module: operator by operator, without gradients, in torch's default layout, in the fastest of two batch
sizes. captum has no RISE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

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

NETWORKS = (("resnet18", 64), ("resnet18", 224), ("densenet121", 64), ("densenet121", 224))
AT_LEAST = 1.8
SAME = 1e-5  # of the largest value of an explanation
N = {64: 400, 224: 80}  # queries of an explanation, by the side of images
STEPS = {64: 64, 224: 16}  # of a deletion curve
BATCHES = (16, 64)


class Plain(TorchvisionClassifier):
    """A torchvision network as everybody runs it."""

    def apply(self, *inputs: Tensor, eager: bool = False) -> Tensor:
        return self.network.to(memory_format=torch.contiguous_format)(inputs[0].contiguous())


def compare(setting: Setting, networks: Sequence[tuple[str, int]] = NETWORKS) -> list[Row]:
    """Compares total times and results, for each network and method."""
    return [row for name, side in networks for row in one_network(setting, name, side)]


@torch.no_grad()
def one_network(setting: Setting, name: str, side: int) -> list[Row]:
    """The rows of one network with images of one side."""
    setting = Setting(size_px=side, repeats=setting.repeats, seed=setting.seed)
    plain, mine = (kind(architecture=name, num_classes=5) for kind in (Plain, TorchvisionClassifier))
    mine.use_runtime("onnxruntime")
    n, rows = N[side], []
    patch = side // 8
    window = OcclusionExplainer(sampler=GraySampler(value=BASE), window_px=patch, stride_px=patch // 2)
    shap = KernelShapExplainer(sampler=GraySampler(value=BASE), n_coalitions=n)
    pairs = {
        "LIME, lime": (lime(setting, plain, n), ours(setting, mine, n)),
        "LIME, captum": (captum(setting, plain, n), ours(setting, mine, n)),
        "occlusion, captum": (captum_occlusion(setting, plain, patch), explained(setting, mine, window)),
        "Kernel SHAP, captum": (explained(setting, plain, shap), explained(setting, mine, shap)),
        "deletion, Quantus": curves(setting, plain, mine),
    }
    for what, works in pairs.items():
        method, package = what.split(", ")
        timer = Inside()
        fast = {
            who: partial(work, timer.fastest(work, BATCHES))
            for who, work in zip(("theirs", "ours"), works, strict=True)
        }
        runs = timer.paired(fast, setting.repeats)
        theirs, own = runs["theirs"][-1].result, runs["ours"][-1].result
        note = f"{typical(runs['theirs'], total)} and {typical(runs['ours'], total)}"
        versus = f"{method}, {package} / ours, {name}, {side} px"
        gap = float((theirs - own).abs().max() / own.abs().max())
        rows += [
            ratio(
                f"total time, {versus}", (runs["theirs"], total), (runs["ours"], total), at_least=AT_LEAST, note=note
            ),
            Row(f"same answer? {versus}", (gap,), "difference", at_most=SAME, note="of the largest value"),
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
    setting: Setting, plain: TorchvisionClassifier, mine: TorchvisionClassifier
) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor]]:
    """Prepares the deletion curves of four images by Quantus and by this package, without their first point."""
    batch, attribution = gray_portraits(setting, 4)
    n_steps, timer = STEPS[setting.size_px], Inside()
    theirs = quantus(batch, attribution, n_steps, plain, timer)
    our = deletion(batch, attribution, n_steps, mine, timer, setting.seed)
    return lambda _: theirs(), lambda batch_size: our(batch_size)[:, 1:]
