"""Samplers and explainers that give other than their role promises are named before anything is stored."""

from dataclasses import dataclass, replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.engine import promise
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.promise import check_explanation, check_perturbations, refuse_changes
from pomelo_lab.engine.store import Store
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.random import RandomExplainer
from pomelo_lab.sampler.base import BaseImageFiller, Sampler
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Explanation, Perturbations
from tests.running import config
from tests.tiny import tiny_batch

BATCH = tiny_batch(2)
IMAGE = BATCH.image
MAP = torch.zeros(2, *IMAGE.shape[2:])
EXPLANATION = Explanation(target=torch.zeros(2, dtype=torch.long), attribution=MAP)


@dataclass(kw_only=True)
class Flat(BaseImageFiller):
    """Fills with one value."""

    value: float = 0.0
    rows: int | None = None

    def base(self, image, streams, image_ids, segments):
        return torch.full_like(image, self.value)[: self.rows]


@pytest.mark.parametrize(
    ("options", "got"),
    [
        ({"value": float("nan")}, "384 that are not finite"),
        ({"value": 7.0}, "from 7 to 7"),
        ({"rows": 1}, r"\[2, 3, 8, 8\], got \[1, 3"),
    ],
)
def test_a_base_image_that_is_no_image_is_refused(options, got):
    segments = GridSegmenter(n_segments=4).segment(IMAGE)
    with pytest.raises(ValueError, match=f"sampler Flat: base: expected .*images .*{got}"):
        Flat(**options).perturb(BATCH, segments, 3, RandomStreams(0))
    with pytest.raises(ValueError, match="sampler Flat"):
        Flat(**options).fill(IMAGE, torch.zeros(2, 1, *IMAGE.shape[2:]), RandomStreams(0), BATCH.image_id, segments)


@dataclass(kw_only=True)
class Scaled(Sampler):
    """A full-input sampler: every perturbation is the image times a factor."""

    factor: float = 1.0

    def perturb(self, batch, segments, n, streams):
        return Perturbations(Perturbations.quantize(batch.image[:, None].repeat(1, n, 1, 1, 1) * self.factor))


@pytest.mark.parametrize(
    ("factor", "got"), [(float("nan"), "1152 that are not finite$"), (-3.0, "values from -3"), (1.1, "to 1.1$")]
)
def test_perturbations_that_are_no_images_are_refused(factor, got):
    """Stored in 8 bits they would be black, or clamped."""
    bright = replace(BATCH, image=IMAGE.clamp_min(0.5).ceil())
    assert promise.perturb(Scaled(factor=1 + 1e-4), bright, None, 3, RandomStreams(0)).n == 3
    expected = rf"^sampler Scaled: expected finite images \[2, 3, 3, 8, 8\] in \[0,1\], got .*{got}"
    with pytest.raises(ValueError, match=expected):
        promise.perturb(Scaled(factor=factor), bright, None, 3, RandomStreams(0))


def test_perturbations_of_another_kind_are_refused():
    good = Perturbations(Perturbations.quantize(IMAGE)[:, None])
    assert check_perturbations(GraySampler(), IMAGE, 1, good) is good
    for bad in (replace(good, image=IMAGE[:, None]), replace(good, image=good.image[:1]), IMAGE):
        with pytest.raises(ValueError, match="sampler GraySampler: perturb must return"):
            check_perturbations(GraySampler(), IMAGE, 1, bad)


@pytest.mark.parametrize("changed", [{"attribution": MAP[:, :4]}, {"attribution": None}, {"target": torch.zeros(1)}])
def test_explanations_of_another_kind_are_refused(changed):
    assert check_explanation(RandomExplainer(), IMAGE, EXPLANATION) is EXPLANATION
    with pytest.raises(ValueError, match=f"explainer RandomExplainer: .*{next(iter(changed))}"):
        check_explanation(RandomExplainer(), IMAGE, replace(EXPLANATION, **changed))
    with pytest.raises(ValueError, match="explain must return an Explanation, got Tensor"):
        check_explanation(RandomExplainer(), IMAGE, MAP)


@dataclass(kw_only=True)
class Brighter(RandomExplainer):
    """Gives twice the image as counterfactual."""

    def explain(self, case):
        return replace(EXPLANATION, counterfactual=case.batch.image * 2)


def test_a_counterfactual_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"^explainer Brighter: expected finite images \[2, 3, 8, 8\] in \[0,1\]"):
        promise.explain(Brighter(), Case(BATCH))


def test_a_data_set_that_gives_no_images_is_named(tmp_path, monkeypatch):
    job = Job(config(tmp_path), Store(tmp_path))
    dataset, batch = job.parts.dataset, job.parts.dataset.batch
    monkeypatch.setattr(dataset, "batch", lambda rows: replace(batch(rows), image=batch(rows).image * 255))
    with pytest.raises(ValueError, match=f"^dataset {type(dataset).__name__}: expected finite images .* to 255"):
        job.batch(0)


def test_images_that_a_component_changes_are_noticed():
    image = IMAGE.clone()
    with refuse_changes(RandomExplainer(), image):
        image + 1
    with (
        pytest.raises(ValueError, match="explainer RandomExplainer changed the images"),
        refuse_changes(RandomExplainer(), image),
    ):
        image[0] += 1
