"""A sliding patch from whole forwards, and from forwards that compute only what the patch changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.lime import TARGET
from pomelo_lab.bench.row import Row, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside
from pomelo_lab.bench.together import maps
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.sliding_patch import SlidingPatchExplainer
from pomelo_lab.sampler.gray import GraySampler

AT_LEAST = 1.5
BATCH_SIZE = 16


def compare(
    setting: Setting,
    architectures: Sequence[str] = ("resnet18", "vgg16"),
    size_px: int = 224,
    patches_px: Sequence[int] = (16, 32),
    stride_px: int = 32,
) -> list[Row]:
    """Compares the two for one portrait. Values of the map must agree within 1e-5 of the explained probability."""
    batch = type(setting.dataset)(size_px=size_px).batch([0])
    target = batch.label.new_full((1,), TARGET)
    rows = []
    for name in architectures:
        whole = TorchvisionClassifier(architecture=name, num_classes=5)
        incremental = copy.copy(whole).use_runtime("incremental")  # with the same network
        whole.use_runtime("eager")
        for patch_px in patches_px:
            explainer = SlidingPatchExplainer(sampler=GraySampler(), patch_px=patch_px, stride_px=stride_px)
            cases = {
                way: Case(batch, target, view(classifier, "black_box", BATCH_SIZE), RandomStreams(setting.seed))
                for way, classifier in {"whole": whole, "incremental": incremental}.items()
            }
            works = {way: partial(maps, explainer, case) for way, case in cases.items()}
            for work in works.values():
                work()
            runs = Inside().paired(works, setting.repeats)
            map_whole, map_incremental = (runs[way][-1].result for way in works)
            probability = float(cases["whole"].classifier.probability(batch.image)[0, TARGET])
            what = f"patches of {patch_px} px, {name} at {size_px} px"
            rows += [
                ratio(
                    f"whole / incremental, {what}",
                    (runs["whole"], total),
                    (runs["incremental"], total),
                    at_least=AT_LEAST,
                    note=f"{typical(runs['whole'], total)} and {typical(runs['incremental'], total)}",
                ),
                Row(
                    f"same map? {what}",
                    (float((map_whole - map_incremental).abs().max()) / probability,),
                    "difference",
                    at_most=1e-5,
                ),
            ]
    return rows
