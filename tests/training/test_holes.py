import pytest
import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.training.holes import boxes, cells, freeform, holes, superpixels

KINDS = ("freeform", "box", "superpixel", "cell")
IMAGES = Portraits(size_px=32).unmasked(range(40)).image


def drawn(share, seed=0, images=IMAGES):
    return holes(images, share, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_holes_have_all_sizes_and_are_never_empty(kind):
    hole_masks = drawn({kind: 1.0})
    share = hole_masks.float().mean((1, 2))
    assert hole_masks.shape == (40, 32, 32) and hole_masks.dtype == torch.bool
    assert share.min() > 0 and share.min() < 0.25 and share.max() > 0.4 and share.std() > 0.08
    assert torch.equal(hole_masks, drawn({kind: 1.0})) and not torch.equal(hole_masks, drawn({kind: 1.0}, seed=1))


def test_shares_choose_the_kind_and_nothing_else():
    """What a kind draws does not depend on which kinds are asked for."""
    each = {kind: drawn({kind: 1.0}) for kind in KINDS}
    mixed = drawn({"box": 2.0, "cell": 2.0})
    of = [
        torch.stack([torch.equal(mixed[i], each[kind][i]) * torch.ones(()) for i in range(40)]).bool() for kind in KINDS
    ]
    assert (of[1] | of[3]).all() and 8 < int(of[1].sum()) < 32 and not (of[0] & ~of[1] & ~of[3]).any()


def test_boxes_are_rectangles():
    hole_masks = boxes(IMAGES, torch.Generator().manual_seed(0))
    for mask in hole_masks[:10]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() <= rows.sum() * columns.sum()
    one = next(m for m in hole_masks if torch.equal(m, m.any(1)[:, None] & m.any(0)))
    assert 0.15 * 32 - 1 <= one.any(1).sum() <= 0.65 * 32 + 1


def test_cells_follow_a_grid():
    hole_masks = cells(torch.zeros(30, 3, 28, 28), torch.Generator().manual_seed(0))
    for mask in hole_masks:
        flips = (mask[:, 1:] != mask[:, :-1]).any(0).sum()
        assert flips <= 27
    coarse = min(hole_masks, key=lambda m: int((m[:, 1:] != m[:, :-1]).any(0).sum()))
    assert (coarse[:, 1:] != coarse[:, :-1]).any(0).sum() <= 6


def test_superpixels_follow_colours():
    """Where an image is two flat halves, a region seldom crosses the border."""
    image = torch.zeros(20, 3, 32, 32)
    image[:, :, :, 16:] = 1.0
    hole_masks = superpixels(image, torch.Generator().manual_seed(0))
    across = (hole_masks[:, :, 15] == hole_masks[:, :, 16]).float().mean()
    within = (hole_masks[:, :, 14] == hole_masks[:, :, 15]).float().mean()
    assert within > 0.85 > across


def test_strokes_are_connected_blobs_of_brush_width():
    hole_masks = freeform(torch.zeros(20, 3, 64, 64), torch.Generator().manual_seed(0))
    eroded = -torch.nn.functional.max_pool2d(-hole_masks.float()[:, None], 3, 1, 1)
    assert (eroded.flatten(1).sum(1) > 0).float().mean() > 0.9  # wider than a line
