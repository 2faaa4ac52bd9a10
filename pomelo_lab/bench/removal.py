"""Explainers that remove parts of images: the gain of batches, and the time of SP-G relative to its networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.bench.together import beside, first_class_case, maps
from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.fido import FidoExplainer
from pomelo_lab.explainer.meaningful_perturbation import MeaningfulPerturbationExplainer
from pomelo_lab.explainer.mp2 import MP2Explainer
from pomelo_lab.explainer.sliding_patch import SlidingPatchExplainer
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.sampler.blur import BlurSampler
from pomelo_lab.sampler.inpaint import InpaintSampler

SIDE_PX = 16  # side of the images; the network is so small that a single image does not use a whole core


def compare(
    setting: Setting, n_images: int = 16, n_steps: int = 20, stride_px: int = 3, patch_px: int = 9
) -> list[Row]:
    """Compares one batch of images with single images, and SP-G with the forwards of its networks."""
    return [*side_by_side(setting, n_images, n_steps), sliding_patch(setting, stride_px, patch_px)]


def side_by_side(setting: Setting, n_images: int, n_steps: int) -> list[Row]:
    """The time of n images in one batch, divided by the time of n single images, with a small classifier.

    The maps must agree within 1e-5.
    """
    classifier = PlainClassifier(num_classes=5, width=8, depth=2)
    batch = type(setting.dataset)(size_px=SIDE_PX).batch(range(n_images))
    blur = BlurSampler(sigma_px=2.0)
    explainers: dict[str, Explainer] = {
        "MP": MeaningfulPerturbationExplainer(sampler=blur, mask_px=8, n_steps=n_steps),
        "MP2": MP2Explainer(sampler=blur, mask_px=8, n_per_step=max(1, 64 // n_steps), chance=1e-6),
        "FIDO": FidoExplainer(sampler=blur, mask_px=8, n_steps=n_steps, n_samples=1),
    }
    return beside(setting, explainers, batch, classifier, at_most=1 / 3)


def sliding_patch(setting: Setting, stride_px: int, patch_px: int, batch_size: int = 64) -> Row:
    """The time of SP-G, divided by the time of its in-painter's and classifier's forwards at the same batch size."""
    generator = Inpainter(channels=3, size_px=setting.size_px, batch_size=batch_size)
    classifier = list(setting.classifiers.values())[-1]  # the fastest of them
    explainer = SlidingPatchExplainer(
        sampler=InpaintSampler(generator=generator), patch_px=patch_px, stride_px=stride_px
    )
    images, n = torch.rand(batch_size, *generator.shape), explainer.fills(generator.shape)
    keep = torch.ones(batch_size, *generator.shape[1:])

    @torch.no_grad()
    def bare() -> None:
        for start in range(0, n, batch_size):
            rows = slice(0, min(batch_size, n - start))
            classifier.probability(generator.inpaint(images[rows], keep[rows]))

    whole: Callable[[], Tensor] = partial(maps, explainer, first_class_case(explainer, setting.batch, classifier))
    whole(), bare()
    runs = Inside().paired({"whole": whole, "bare": bare}, setting.repeats)
    return ratio(
        f"SP-G, {n} patches / bare in-painter and classifier",
        (runs["whole"], total),
        (runs["bare"], total),
        at_most=1.15,
        note=f"{typical(runs['whole'], total)} and {typical(runs['bare'], total)}; batches of {batch_size}",
    )
