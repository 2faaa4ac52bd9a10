"""LIME here, in the lime package, and in captum: the same image, segments, masks, removal, kernel, ridge and
classifier.

The classifier's time is that of `Classifier.probability`, given floats, for all. Segmenting is done beforehand. Each
package runs at the batch size that suits it best, and in its cheapest way: lime gets an 8-bit image and skips its
feature selection; captum gets finished masks and a similarity function of two operations.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.row import Row, inside, outside, ratio, total, typical
from pomelo_lab.bench.setting import JUDGED, Setting
from pomelo_lab.bench.timer import Inside, Run, Seconds, Timed
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.types import Perturbations

TARGET = 1  # the explained class
Work = Callable[[int], Tensor]  # batch size -> coefficients float64 [S]


def compare(setting: Setting, n_samples: int = 800, batch_sizes: Sequence[int] = (100, 200, 400)) -> list[Row]:
    """Total time, time outside the classifier, and whether the coefficients agree."""
    rows = []
    for name, classifier in setting.classifiers.items():
        timer = Inside()
        works = {p.__name__: p(setting, Timed(classifier, timer), n_samples) for p in (ours, lime, captum)}
        best = {p: timer.fastest(work, batch_sizes) for p, work in works.items()}
        runs = timer.paired({p: partial(work, best[p]) for p, work in works.items()}, setting.repeats)
        here = runs["ours"]
        for package in ("lime", "captum"):
            theirs, versus = runs[package], f"{package} / ours, {name}"
            promised = 10.0 if package == "lime" else None
            batches = f"batches of {best[package]} and {best['ours']}"
            difference, largest = (float(x.abs().max()) for x in (theirs[-1].result - here[-1].result, here[-1].result))
            rows += [
                ratio(
                    f"total time, {versus}",
                    (theirs, total),
                    (here, total),
                    note=f"{both(theirs, here, total)}; {batches}",
                ),
                ratio(
                    f"outside the classifier, {versus}",
                    (theirs, outside),
                    (here, outside),
                    at_least=promised,
                    note=both(theirs, here, outside),
                ),
                Row(
                    f"same coefficients? {versus}",
                    (difference / largest,),
                    "difference",
                    at_most=1e-3,
                    note=f"largest difference over the largest coefficient, {largest:.1e}",
                ),
            ]
        limit = 0.05 if name == JUDGED else None
        note = f"{typical(here, outside)} of {typical(here, total)}"
        rows.append(
            ratio(
                f"our overhead on the classifier's time, {name}",
                (here, outside),
                (here, inside),
                "%",
                at_most=limit,
                note=note,
            )
        )
    return rows


def both(theirs: list[Run], here: list[Run], part: Callable[[Run], Seconds]) -> str:
    """Median times of theirs and ours."""
    return f"{typical(theirs, part)} and {typical(here, part)}"


def ours(setting: Setting, classifier: Classifier, n_samples: int) -> Work:
    sampler, explainer = GraySampler(design="lime"), LimeExplainer(n_samples=n_samples)
    batch, segments, target = setting.batch, setting.segments, torch.tensor([TARGET])

    def work(batch_size: int) -> Tensor:
        streams = RandomStreams(setting.seed)
        perturbations = sampler.perturb(batch, segments, n_samples, streams)
        answering = view(classifier, "black_box", batch_size)
        explanation = explainer.explain(Case(batch, target, answering, streams, segments, perturbations))
        return explanation.extra["coefficient"][0].double()

    return work


def lime(setting: Setting, classifier: Classifier, n_samples: int) -> Work:
    from lime.lime_image import LimeImageExplainer

    image = Perturbations.quantize(setting.batch.image)[0].permute(1, 2, 0).contiguous().numpy()
    label = setting.segments.label[0].numpy()

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return classifier.probability(
                Perturbations.dequantize(torch.from_numpy(images).permute(0, 3, 1, 2))
            ).numpy()

    def work(batch_size: int) -> Tensor:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            explanation = LimeImageExplainer(random_state=setting.seed, feature_selection="none").explain_instance(
                image,
                answer,
                labels=(TARGET,),
                top_labels=None,
                hide_color=128,
                num_samples=n_samples,
                batch_size=batch_size,
                segmentation_fn=lambda _: label,
                random_seed=1,
            )
        coefficient = torch.zeros(setting.segments.largest, dtype=torch.float64)
        index, value = zip(*explanation.local_exp[TARGET], strict=True)
        coefficient[torch.tensor([int(i) for i in index])] = torch.tensor(
            [float(v) for v in value], dtype=torch.float64
        )
        return coefficient

    return work


def captum(setting: Setting, classifier: Classifier, n_samples: int) -> Work:
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    batch, segments = setting.batch, setting.segments
    keep = GraySampler(design="lime").keep_mask(batch, segments, n_samples, RandomStreams(setting.seed))[0].long()
    width = LimeExplainer().kernel_width

    def rows(original, **_):
        for row in keep:
            yield row[None]

    def similarity(original, perturbed, interpretable, **_):
        distance = 1 - math.sqrt(int(interpretable.sum()) / interpretable.numel())
        return math.exp(-(distance**2) / (2 * width**2))

    def work(batch_size: int) -> Tensor:
        explainer = Lime(classifier.probability, SkLearnRidge(alpha=1.0), similarity, rows)
        coefficients = explainer.attribute(
            batch.image,
            baselines=128 / 255,
            target=TARGET,
            feature_mask=segments.label[:, None],
            n_samples=n_samples,
            perturbations_per_eval=batch_size,
            return_input_shape=False,
        )
        return coefficients.detach().double().flatten()

    return work
