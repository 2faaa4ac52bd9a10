"""The time of LIME in this package, in the lime package and in captum.

All three use the same image, segments, masks, fill, kernel, ridge regression and classifier. The classifier's time is
the time of `Classifier.probability` on float images. Segmentation is done beforehand. Each package uses its best batch
size and its cheapest options: lime gets an 8-bit image and skips its feature selection; captum gets finished masks and
a similarity function of two operations.
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
Work = Callable[[int], Tensor]  # a function from the batch size to the coefficients, float64 [S]


def compare(setting: Setting, n_samples: int = 800, batch_sizes: Sequence[int] = (100, 200, 400)) -> list[Row]:
    """Compares total time, time outside the classifier, and the coefficients."""
    rows = []
    for name, classifier in setting.classifiers.items():
        timer = Inside()
        works = {p.__name__: p(setting, Timed(classifier, timer), n_samples) for p in (ours, lime, captum)}
        best = {p: timer.fastest(work, batch_sizes) for p, work in works.items()}
        runs = timer.paired({p: partial(work, best[p]) for p, work in works.items()}, setting.repeats)
        our_runs = runs["ours"]
        for package in ("lime", "captum"):
            theirs, versus = runs[package], f"{package} / ours, {name}"
            promised = 10.0 if package == "lime" else None
            batches = f"batches of {best[package]} and {best['ours']}"
            difference, largest = (
                float(x.abs().max()) for x in (theirs[-1].result - our_runs[-1].result, our_runs[-1].result)
            )
            rows += [
                ratio(
                    f"total time, {versus}",
                    (theirs, total),
                    (our_runs, total),
                    note=f"{both(theirs, our_runs, total)}; {batches}",
                ),
                ratio(
                    f"outside the classifier, {versus}",
                    (theirs, outside),
                    (our_runs, outside),
                    at_least=promised,
                    note=both(theirs, our_runs, outside),
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
        note = f"{typical(our_runs, outside)} of {typical(our_runs, total)}"
        rows.append(
            ratio(
                f"our overhead on the classifier's time, {name}",
                (our_runs, outside),
                (our_runs, inside),
                "%",
                at_most=limit,
                note=note,
            )
        )
    return rows


def both(theirs: list[Run], our_runs: list[Run], part: Callable[[Run], Seconds]) -> str:
    """The median times of the other package's runs and of our runs, as text."""
    return f"{typical(theirs, part)} and {typical(our_runs, part)}"


def ours(setting: Setting, classifier: Classifier, n_samples: int) -> Work:
    """Prepares LIME of this package."""
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
    """Prepares LIME of the lime package."""
    from lime.lime_image import LimeImageExplainer

    image = Perturbations.quantize(setting.batch.image)[0].permute(1, 2, 0).contiguous().numpy()
    label = setting.segments.label[0].numpy()

    def answer(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return classifier.probability(
                Perturbations.dequantize(torch.from_numpy(images).permute(0, 3, 1, 2))
            ).numpy()

    def work(batch_size: int) -> Tensor:
        with contextlib.redirect_stderr(io.StringIO()):  # hides the progress bar of lime
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
    """Prepares LIME of captum."""
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
