"""Samplers and explainers that give other than their role promises are named before anything is stored."""

from dataclasses import dataclass, replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.engine.promise import check_explanation, check_perturbations, left_alone
from pomelo_lab.explainer.random import RandomExplainer
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Explanation, Perturbations
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
        ({"rows": 1}, r"got \[1, 3"),
    ],
)
def test_a_base_image_that_is_no_image_is_refused(options, got):
    segments = GridSegmenter(n_segments=4).segment(IMAGE)
    with pytest.raises(ValueError, match=rf"sampler Flat: base must give finite images .* in \[0,1\].*{got}"):
        Flat(**options).perturb(BATCH, segments, 3, RandomStreams(0))
    with pytest.raises(ValueError, match="sampler Flat"):
        Flat(**options).fill(IMAGE, torch.zeros(2, 1, *IMAGE.shape[2:]), RandomStreams(0), BATCH.image_id, segments)


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


def test_images_that_a_component_changes_are_noticed():
    image = IMAGE.clone()
    with left_alone(RandomExplainer(), image):
        image + 1
    with (
        pytest.raises(ValueError, match="explainer RandomExplainer changed the images"),
        left_alone(RandomExplainer(), image),
    ):
        image[0] += 1
