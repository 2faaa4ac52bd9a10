"""The deletion curve of this package and of Quantus (PixelFlipping).

Both get the same images, attribution, base value, steps and classifier. Quantus flips single values instead of pixels.
The images therefore have one channel, which is repeated three times for the classifier. Quantus calls the classifier
once per step, with one row per image, so that its batch size is the number of images. Our batch size is tuned.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.row import Row, inside, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside, Timed
from pomelo_lab.classifier.base import Classifier, NetworkClassifier, view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.fidelity import Deletion
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.types import Batch, Explanation

BASE = 0.5


def compare(
    setting: Setting, cases: Sequence[tuple[int, int]] = ((1, 128), (32, 32)), batch_sizes: Sequence[int] = (128, 512)
) -> list[Row]:
    """Compares total time, the classifier's share of it, and the curves, for each pair (images, steps)."""
    rows = []
    for name, classifier in setting.classifiers.items():
        for n_images, n_steps in cases:
            timer = Inside()
            batch, attribution = gray_portraits(setting, n_images)
            ours = deletion(batch, attribution, n_steps, classifier, timer, setting.seed)
            theirs = quantus(batch, attribution, n_steps, classifier, timer)
            best = timer.fastest(ours, batch_sizes)
            timer.run(theirs)
            runs = timer.paired({"ours": partial(ours, best), "quantus": theirs}, setting.repeats)
            our_runs, their_runs = runs["ours"], runs["quantus"]
            work = f"{name}, {n_images} {'image' if n_images == 1 else 'images'} x {n_steps} steps"
            times, batches = (
                f"{typical(their_runs, total)} and {typical(our_runs, total)}",
                f"batches of {n_images} and {best}",
            )
            share = ratio("", (their_runs, inside), (their_runs, total), "%")
            # the curves of Quantus have no point before the first step
            difference = float((our_runs[-1].result[:, 1:] - their_runs[-1].result).abs().max())
            rows += [
                ratio(
                    f"total time, Quantus / ours, {work}",
                    (their_runs, total),
                    (our_runs, total),
                    note=f"{times}; {batches}",
                ),
                ratio(
                    f"our share in the classifier, {work}",
                    (our_runs, inside),
                    (our_runs, total),
                    "%",
                    at_least=0.92,
                    note=f"Quantus {share.cells()[1]}",
                ),
                Row(
                    f"same curve? {work}",
                    (difference,),
                    "difference",
                    at_most=1e-4,
                    note="largest difference of a probability",
                ),
            ]
    return rows


def gray_portraits(setting: Setting, n: int) -> tuple[Batch, Tensor]:
    """Portraits with one channel [B,1,H,W], and a random attribution without ties [B,H,W]."""
    batch = setting.dataset.batch(range(n))
    image = batch.image.mean(1, keepdim=True)
    order = RandomStreams(setting.seed).permutation(batch.image_id, "bench", 1, image[0].numel())
    named = Batch(image=image, label=batch.label, image_id=batch.image_id, index=batch.index)
    return named, order.view(n, *image.shape[2:]).float() / image[0].numel()


def deletion(
    batch: Batch, attribution: Tensor, n_steps: int, classifier: Classifier, timer: Inside, seed: int
) -> Callable[[int], Tensor]:
    """Prepares this package's deletion: a function from the batch size to the curves."""
    timed = Timed(OneChannel(classifier), timer)
    metric = Deletion(filler=GraySampler(value=BASE), step_px=attribution[0].numel() // n_steps, bound=1.0)
    target = batch.label.clone()

    def work(batch_size: int) -> Tensor:
        case = Case(
            batch=batch,
            target=target,
            explanation=Explanation(target=target, attribution=attribution),
            classifier=view(timed, "black_box", batch_size),
            streams=RandomStreams(seed),
        )
        return metric.score(case)["curve"]

    return work


def quantus(
    batch: Batch, attribution: Tensor, n_steps: int, classifier: NetworkClassifier, timer: Inside
) -> Callable[[], Tensor]:
    """Prepares Quantus's PixelFlipping: a function that returns the curves."""
    from quantus.metrics.faithfulness.pixel_flipping import PixelFlipping

    model = Logits(OneChannel(classifier), timer).eval()
    metric = PixelFlipping(
        features_in_step=attribution[0].numel() // n_steps,
        abs=False,
        normalise=False,
        perturb_baseline=BASE,
        disable_warnings=True,
        display_progressbar=False,
    )
    image, label, given = batch.image.numpy(), batch.label.numpy(), attribution[:, None].numpy()

    def work() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            curves = metric(
                model=model,
                x_batch=image,
                y_batch=label,
                a_batch=given,
                softmax=True,
                device="cpu",
                channel_first=True,
                batch_size=len(image),
            )
        return torch.tensor(curves)

    return work


class OneChannel(Classifier):
    """A classifier of three-channel images that takes images with one channel, which it repeats three times."""

    def __init__(self, classifier: NetworkClassifier) -> None:
        self.num_classes = classifier.num_classes
        self.classifier = classifier

    def probability(self, images: Tensor) -> Tensor:
        return self.logit(images).softmax(-1)

    def logit(self, images: Tensor) -> Tensor:
        return self.classifier.logit(images.expand(-1, 3, -1, -1))

    def digest(self) -> str:
        return self.classifier.digest()


class Logits(nn.Module):
    """A classifier in the form that Quantus requires: a torch module that returns logits. Its forwards are timed."""

    def __init__(self, classifier: OneChannel, timer: Inside) -> None:
        super().__init__()
        self.network = classifier.classifier.network
        self.answer = timer(classifier.logit)

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(images)
