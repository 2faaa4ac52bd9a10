import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import mean_summary
from pomelo_lab.metric.fidelity import Deletion, Insertion
from pomelo_lab.sampler.base import BaseImageFiller, Filler, Filling
from pomelo_lab.sampler.mean import MeanSampler
from pomelo_lab.types import Explanation, Segments
from tests.tiny import ConstantFiller, TinyLinear, batch_of, tiny_image


@dataclass(kw_only=True)
class OtherImage(BaseImageFiller):
    """Replaces by given images."""

    other: dict

    def base(self, image, streams, image_ids, segments):
        return torch.stack([self.other[name] for name in image_ids])


@dataclass(kw_only=True)
class BlackByMask(Filler):
    """Black, but filled mask by mask."""

    context: ClassVar[str] = "mask"

    def filling(self, image, streams, image_ids, segments=None):
        return Filling(image, lambda row, keep, index: torch.zeros_like(image)[row])


@dataclass(kw_only=True)
class NoiseByMask(Filler):
    """Other noise for every mask of a call."""

    context: ClassVar[str] = "mask"

    def filling(self, image, streams, image_ids, segments=None):
        def noise(row, keep, index):
            ids = [f"{image_ids[i]}.{k}" for i, k in zip(row.tolist(), index.tolist(), strict=True)]
            return streams.uniform(ids, "noise", *image.shape[1:])

        return Filling(image, noise)


def case_of(attribution, image=None, batch_size=64, classifier=None, seed=0):
    n, size = len(attribution), tuple(attribution.shape[1:])
    image = tiny_image(n, (3, *size)) if image is None else image
    classifier = classifier or TinyLinear.random(3, image.shape[1:], scale=0.3, dtype=torch.float64)
    target = torch.arange(n) % classifier.num_classes
    return Case(
        batch=batch_of(image),
        target=target,
        explanation=Explanation(target=target, attribution=attribution),
        classifier=view(classifier, "black_box", batch_size),
        streams=RandomStreams(seed),
    )


def untied(n=3, size=(6, 6), seed=0):
    return torch.rand(n, *size, generator=torch.Generator().manual_seed(seed))


def tied(n=3, size=(6, 6), seed=0):
    return torch.randint(-2, 2, (n, *size), generator=torch.Generator().manual_seed(seed)).float()


def plain_loop(case, metric, insertion):
    """One image, one order, one step at a time."""
    n_px = case.explanation.attribution[0].numel()
    orders = case.streams.permutation(case.batch.image_id, "tie_order", metric.n_orders, n_px)
    curves = []
    for b in range(len(case.batch)):
        image, base = case.batch.image[b], torch.full_like(case.batch.image[b], metric.filler.value)
        attribution = case.explanation.attribution[b].flatten().tolist()
        runs = []
        for order in orders[b].tolist():
            index = {pixel: i for i, pixel in enumerate(order)}
            ranked = sorted(range(n_px), key=lambda pixel: (-attribution[pixel], index[pixel]))
            run, k = [], 0
            while True:
                now = (base if insertion else image).clone().flatten(1)
                now[:, ranked[:k]] = (image if insertion else base).flatten(1)[:, ranked[:k]]
                run.append(case.classifier.probability(now.view_as(image)[None])[0, case.target[b]].item())
                if k == round(metric.bound * n_px):
                    break
                k = min(k + metric.step_px, round(metric.bound * n_px))
            runs.append(run)
        curves.append([sum(column) / len(runs) for column in zip(*runs, strict=True)])
    return torch.tensor(curves, dtype=torch.float64)


@pytest.mark.parametrize("cls", [Deletion, Insertion])
@pytest.mark.parametrize("step_px", [1, 5])
@pytest.mark.parametrize("maps", [tied, untied])
def test_against_a_plain_loop(cls, step_px, maps):
    case = case_of(maps())
    metric = cls(filler=ConstantFiller(value=0.25), step_px=step_px, n_orders=4)
    scores = metric.score(case)
    curve = plain_loop(case, metric, cls is Insertion)
    assert torch.allclose(scores["curve"].double(), curve, atol=1e-7, rtol=0)
    fraction = torch.tensor(
        [min(k, 18) / 36 for k in range(0, 18 + step_px, step_px)][: curve.shape[1]], dtype=torch.float64
    )
    assert torch.allclose(scores["fraction"][0].double(), fraction, atol=1e-7) and scores["fraction"][0, -1] == 0.5
    assert torch.allclose(scores["value"], torch.trapezoid(curve, fraction), atol=1e-7, rtol=0)
    normalized = cls(filler=ConstantFiller(value=0.25), step_px=step_px, n_orders=4, normalized=True).score(case)[
        "value"
    ]
    assert torch.allclose(normalized, scores["value"] / 0.5)


def test_linear_classifier_has_an_analytic_area():
    # p = mean of the pixels, image white, base black: deletion falls from 1 by the flipped fraction, whatever the order
    linear = TinyLinear(weight=torch.full((1, 1, 8, 8), 1 / 64), output="identity")
    case = case_of(tied(2, (8, 8)), torch.ones(2, 1, 8, 8), classifier=linear)
    for bound in (0.5, 1.0, 0.3):
        black = {"filler": ConstantFiller(value=0.0), "bound": bound}
        assert Deletion(**black).score(case)["value"].tolist() == pytest.approx([bound - bound**2 / 2] * 2, abs=1e-6)
        assert Insertion(**black).score(case)["value"].tolist() == pytest.approx([bound**2 / 2] * 2, abs=1e-6)
    # all weight on the most important pixel: a step of one pixel, then nothing
    weight = torch.zeros(1, 1, 8, 8)
    weight[0, 0, 3, 3] = 1
    case = case_of(
        weight[0].expand(2, -1, -1), torch.ones(2, 1, 8, 8), classifier=TinyLinear(weight=weight, output="identity")
    )
    assert Deletion(filler=ConstantFiller()).score(case)["value"].tolist() == pytest.approx([0.5 / 64] * 2, abs=1e-7)
    assert Insertion(filler=ConstantFiller()).score(case)["value"].tolist() == pytest.approx(
        [0.5 - 0.5 / 64] * 2, abs=1e-7
    )


def test_insertion_mirrors_deletion():
    attribution = untied()
    case = case_of(attribution)
    base = tiny_image(3, (3, 6, 6), seed=9)
    named = dict(zip(case.batch.image_id, base, strict=True))
    inserted = Insertion(filler=OtherImage(other=named), bound=1.0).score(case)
    # image and base swapped: the same images, step by step
    originals = OtherImage(other=dict(zip(case.batch.image_id, case.batch.image, strict=True)))
    assert torch.equal(
        inserted["curve"], Deletion(filler=originals, bound=1.0).score(case_of(attribution, base))["curve"]
    )
    # map reversed: what is inserted first is deleted last
    reverse = Deletion(filler=OtherImage(other=named), bound=1.0).score(case_of(-attribution))
    assert torch.allclose(inserted["curve"], reverse["curve"].flip(1), atol=1e-7)


@pytest.mark.parametrize("cls", [Deletion, Insertion])
def test_batch_size_and_neighbours_do_not_matter(cls):
    attribution = tied(4)
    metric = cls(filler=ConstantFiller(value=0.5))
    whole = metric.score(case_of(attribution, batch_size=64))
    for batch_size in (1, 7):
        assert torch.allclose(
            metric.score(case_of(attribution, batch_size=batch_size))["value"], whole["value"], atol=1e-7, rtol=0
        )
    case = case_of(attribution)
    one = {name: getattr(case, name).select([2]) for name in ("batch", "explanation")}
    alone = metric.score(Case(**one, target=case.target[[2]], classifier=case.classifier, streams=case.streams))
    assert torch.allclose(alone["curve"][0], whole["curve"][2], atol=1e-7, rtol=0)


def test_equal_steps_are_asked_once():
    metric = Deletion(filler=ConstantFiller(), n_orders=10)
    for attribution, expected in ((untied(), 1 + 18), (torch.zeros(3, 6, 6), metric.cost((3, 6, 6), 0).queries)):
        case = case_of(attribution)
        metric.score(case)
        assert case.classifier.queries == 3 * expected
    assert metric.cost((3, 6, 6), 0).queries == 1 + 10 * 18


def test_tie_orders_are_shared_between_methods_and_follow_the_seed():
    constant = torch.zeros(2, 6, 6)
    metric = Deletion(filler=ConstantFiller(), n_orders=2)
    first = metric.score(case_of(constant))["curve"]
    assert torch.equal(first, metric.score(case_of(constant + 1))["curve"])
    assert not torch.equal(first, metric.score(case_of(constant, seed=1))["curve"])


@pytest.mark.parametrize("cls", [Deletion, Insertion])
def test_fillers_that_look_at_the_mask(cls):
    case = case_of(tied())
    options = {"step_px": 5, "n_orders": 4}
    by_base, by_mask = (cls(filler=filler, **options) for filler in (ConstantFiller(), BlackByMask()))
    assert torch.allclose(by_base.score(case)["curve"], by_mask.score(case)["curve"], atol=1e-7, rtol=0)
    assert by_mask.cost((3, 6, 6), 0).queries == 4 * 5
    # noise differs from step to step, and does not depend on how many images are filled at once
    noisy = cls(filler=NoiseByMask(), **options)
    expected = noisy.score(case)["curve"]
    assert torch.allclose(noisy.score(case_of(tied(), batch_size=7))["curve"], expected, atol=1e-7, rtol=0)


def test_a_bound_within_a_pixel_is_exact():
    """Half of 25 pixels lies within a pixel; a straight line stays straight when interpolated."""
    linear = TinyLinear(weight=torch.full((1, 1, 5, 5), 1 / 25), output="identity")
    case = case_of(untied(2, (5, 5)), torch.ones(2, 1, 5, 5), classifier=linear)
    scores = Deletion(filler=ConstantFiller(), step_px=4).score(case)
    assert scores["value"].tolist() == pytest.approx([0.375] * 2, abs=1e-6) and scores["curve"][
        :, -1
    ].tolist() == pytest.approx([0.5] * 2)


def test_undefined_maps_and_messages():
    attribution = untied()
    attribution[1, 0, 0] = math.nan
    value = Deletion(filler=ConstantFiller()).score(case_of(attribution))["value"]
    assert (value.isnan().tolist(), mean_summary(value).n_nan) == ([False, True, False], 1)
    case = case_of(attribution)
    with pytest.raises(ValueError, match="attribution"):
        Deletion(filler=ConstantFiller()).score(Case(**{**vars(case), "explanation": Explanation(target=case.target)}))
    with pytest.raises(ValueError, match="bound"):
        Deletion(filler=ConstantFiller(), bound=0.0)
    with pytest.raises(ValueError, match="filler"):
        Deletion(filler="black")


def test_segments_reach_fillers_that_average_over_them():
    case = case_of(tied())
    segments = Segments(label=torch.arange(36).view(1, 6, 6).expand(3, -1, -1) // 12, count=torch.full((3,), 3))
    metric = Deletion(filler=MeanSampler(), step_px=6)
    assert "segments" in metric.needs
    curve = metric.score(Case(**{**vars(case), "segments": segments}))["curve"]
    bases = MeanSampler().base(case.batch.image, case.streams, case.batch.image_id, segments)
    same = Deletion(filler=OtherImage(other=dict(zip(case.batch.image_id, bases, strict=True))), step_px=6)
    assert torch.equal(curve, same.score(case)["curve"])


def test_a_metric_needs_what_its_filler_needs():
    assert Deletion(filler=ConstantFiller()).needs == Deletion.needs
    assert Deletion(filler=MeanSampler()).needs == Deletion.needs | {"segments"}
