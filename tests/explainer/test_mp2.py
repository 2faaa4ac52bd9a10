from dataclasses import replace

import pytest
import torch

from pomelo_lab.explainer.mp2 import MP2Explainer
from pomelo_lab.sampler.base import Filling
from tests.explainer.removing import ByMask, black, explained, same_alone_and_in_any_batch
from tests.tiny import ConstantFiller, TinyLinear, batch_of, tiny_batch

OURS = {
    "mask_px": 4,
    "block_cells": 1,
    "map_upsample": "nearest",
    "rank": "decrease",
    "probe": "blocks",
    "heat": "rank",
}


def mp2(filler=None, **options):
    return MP2Explainer(sampler=filler or black(), **{**OURS, **options})


def logistic(n=1, seed=0, scale=1.0):
    """p = sigmoid(sum w x), one weight per 2x2 cell; the image is white: removing a cell to black loses 12 w."""
    cell = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale - 0.2
    weight = cell.repeat_interleave(2, 0).repeat_interleave(2, 1).expand(1, 3, 8, 8)
    return cell, TinyLinear(weight=weight.contiguous(), output="sigmoid"), batch_of(torch.ones(n, 3, 8, 8))


ZERO = torch.zeros(1, dtype=torch.long)


@pytest.mark.parametrize("filler", [ConstantFiller(value=0.3), ByMask()])
def test_it_picks_in_the_known_order_and_stops_at_chance(filler):
    cell, classifier, batch = logistic()
    value = 0.3 if isinstance(filler, ConstantFiller) else filler.value
    explanation, _ = explained(mp2(filler, chance=0.5, n_per_step=1), batch, ZERO, classifier)
    logit, expected = float(12 * cell.sum()), []
    for index in cell.flatten().argsort(descending=True).tolist():
        if torch.sigmoid(torch.tensor(logit)) <= 0.5:
            break
        expected.append(index)
        logit -= 12 * (1 - value) * float(cell.flatten()[index])
    order = explanation.extra["order"][0].flatten()
    picked = int(explanation.extra["n_removed"])
    assert picked == len(expected) and [int((order == index).nonzero()) for index in range(picked)] == expected
    assert explanation.extra["at_chance"] == 0 and explanation.extra["unreached"] == (logit > 0)
    heat = explanation.attribution[0, ::2, ::2].flatten()
    assert heat[expected].tolist() == pytest.approx([1 - (i + 1) / (picked + 1) for i in range(picked)])
    assert (heat > 0).sum() == picked


def test_two_at_a_time_and_binary_heat():
    cell, classifier, batch = logistic()
    explanation, box = explained(mp2(chance=0.5, heat="binary"), batch, ZERO, classifier)
    single, alone = explained(mp2(chance=0.5, n_per_step=1), batch, ZERO, classifier)
    removed, before = int(explanation.extra["n_removed"]), int(single.extra["n_removed"])
    assert removed == before + before % 2 and set(explanation.attribution.unique().tolist()) <= {0.0, 1.0}
    assert box.queries == 1 + removed // 2 and alone.queries == 1 + before


def test_the_defaults_are_the_text_s():
    """Section 3.5: the map is the mask, and the cells of the highest gradient norms go first."""
    cell, classifier, batch = logistic(scale=0.6)
    explanation, _ = explained(
        MP2Explainer(sampler=black(), mask_px=4, chance=0.5, map_upsample="nearest"), batch, ZERO, classifier
    )
    removed = explanation.extra["order"][0].flatten() >= 0
    first = cell.flatten().abs().argsort(descending=True)[: int(removed.sum())]
    assert removed[first].all() and torch.equal(explanation.attribution[0, ::2, ::2].flatten(), removed.float())
    assert MP2Explainer(sampler=ByMask()).blocks() == []


def test_norms_ignore_the_sign():
    cell, classifier, batch = logistic()
    explanation, _ = explained(mp2(chance=1e-9, n_per_step=1, rank="norm"), batch, ZERO, classifier)
    order = explanation.extra["order"][0].flatten()
    assert order.argsort().tolist() == cell.flatten().abs().argsort(descending=True).tolist()


def test_at_chance_from_the_start_and_never():
    _, classifier, batch = logistic()
    start, box = explained(
        mp2(chance=0.9999999), batch, ZERO, TinyLinear(weight=0 * classifier.weight, output="sigmoid")
    )
    assert (
        not start.attribution.any()
        and start.extra["at_chance"] == 1
        and start.extra["unreached"] == 0
        and box.queries == 1
    )
    never, _ = explained(mp2(ConstantFiller(value=1.0), chance=0.5), batch, ZERO, classifier)
    assert never.extra["unreached"] == 1 and never.extra["n_removed"] == 16 and never.attribution.min() > 0
    odd, _ = explained(mp2(ConstantFiller(value=1.0), chance=0.5, n_per_step=3), batch, ZERO, classifier)
    assert odd.extra["order"].flatten().sort().values.tolist() == list(range(16))


def test_chance_is_one_over_the_classes():
    explanation, _ = explained(mp2(n_per_step=1))
    assert ((explanation.extra["probability"] <= 1 / 3) | (explanation.extra["unreached"] == 1)).all()


class Rounding(ByMask):
    """ByMask, whose answers are stored in 8 bits."""

    def filling(self, image, streams, image_ids, segments=None):
        exact = super().filling(image, streams, image_ids, segments)
        return replace(exact, replacement=lambda *rows: exact.replacement(*rows).mul(255).round() / 255)


class Tinting(ByMask):
    """ByMask, that makes a fifth less of what it sees."""

    def filling(self, image, streams, image_ids, segments=None):
        return Filling(image, lambda row, keep, index: torch.where(keep[:, None] < 0.5, self.value, 0.8 * image[row]))


@pytest.mark.parametrize("filler", [ByMask(), Rounding()])
def test_an_in_painter_that_returns_kept_pixels_is_refused_by_the_literal_reading(filler):
    """All gradients of the mask would be zero, or those of rounding, and the order that of reading."""
    _, classifier, batch = logistic()
    batch = replace(batch, image=batch.image * 0.6789)
    with pytest.raises(
        ValueError, match=f"explainer.probe must be 'blocks' with {type(filler).__name__}, got 'current'"
    ):
        explained(mp2(filler, chance=0.5, probe="current"), batch, ZERO, classifier)
    explained(mp2(filler, chance=0.5, probe="blocks"), batch, ZERO, classifier)


def test_the_literal_reading_follows_what_the_in_painter_makes_of_kept_pixels():
    cell, classifier, batch = logistic()
    explanation, _ = explained(
        mp2(Tinting(), chance=1e-9, n_per_step=1, probe="current", rank="norm"), batch, ZERO, classifier
    )
    assert (
        explanation.extra["order"][0].flatten().argsort().tolist()
        == cell.flatten().abs().argsort(descending=True).tolist()
    )


@pytest.mark.parametrize(
    "make",
    [lambda: mp2(chance=0.2), lambda: mp2(ByMask(), chance=0.2), lambda: mp2(ByMask(), chance=0.2, probe_every=3)],
)
def test_neighbours_and_batch_size_do_not_matter(make):
    same_alone_and_in_any_batch(make)


@pytest.mark.parametrize("mask_px, cells", [(8, 1), (16, 2), (28, 4), (32, 4), (56, 7), (112, 14)])
def test_blocks_have_the_same_share_of_the_image_at_every_size_of_the_mask(mask_px, cells):
    first = mp2(ByMask(), mask_px=mask_px, block_cells=None).blocks()[0]
    assert first[:cells, :cells].all() and not first[cells].any()
    assert torch.equal(first, mp2(ByMask(), mask_px=mask_px, block_cells=cells).blocks()[0])


def test_heat_and_enlargement_only_present_the_stored_order():
    _, classifier, batch = logistic()
    stored, _ = explained(mp2(chance=0.5), batch, ZERO, classifier)
    for options in (
        {"heat": "binary"},
        {"heat": "rank", "map_upsample": "bilinear"},
        {"heat": "binary", "map_upsample": "bilinear"},
    ):
        explanation, _ = explained(mp2(chance=0.5, **options), batch, ZERO, classifier)
        assert torch.equal(mp2(chance=0.5, **options).postprocess(stored).attribution, explanation.attribution)
        assert not torch.equal(explanation.attribution, stored.attribution)
    assert MP2Explainer.postprocess_arguments == {"heat", "map_upsample"}


def test_the_map_is_enlarged_as_skimage_resizes_it():
    """Agarwal & Nguyen's evaluation resizes maps with skimage.transform.resize; inside half a cell of the border both
    agree."""
    from skimage.transform import resize

    _, classifier, batch = logistic()
    explanation, _ = explained(mp2(chance=0.5, heat="binary", map_upsample="bilinear"), batch, ZERO, classifier)
    mask = (explanation.extra["order"][0] >= 0).double().numpy()
    theirs = torch.from_numpy(resize(mask, (8, 8), order=1, anti_aliasing=False))
    torch.testing.assert_close(explanation.attribution[0, 1:-1, 1:-1].double(), theirs[1:-1, 1:-1], atol=1e-6, rtol=0)


def test_costs():
    explainer = mp2(ByMask(), chance=1e-9)
    _, box = explained(explainer, tiny_batch(3))
    assert box.queries == 3 * explainer.cost((3, 8, 8)).queries and explainer.fills((3, 8, 8)) == 1 + 8 + 5 * 8
    assert mp2(ByMask(), probe_every=4).fills((3, 8, 8)) == 1 + 8 + 5 * 2
