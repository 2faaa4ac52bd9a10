import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.localization import Localization
from pomelo_lab.types import Explanation
from tests.tiny import batch_of


def case_of(maps, masks, boxes=None):
    batch = batch_of(torch.zeros(len(maps), 3, *maps.shape[1:]), masks={"label": masks})
    if boxes is not None:
        batch = type(batch)(**{**vars(batch), "boxes": {"label": boxes}})
    return Case(batch=batch, explanation=Explanation(target=torch.zeros(len(maps), dtype=torch.long), attribution=maps))


def square(top, left, size=4, side=10):
    mask = torch.zeros(side, side)
    mask[top : top + size, left : left + size] = 1
    return mask


def test_found_and_missed():
    masks = torch.stack([square(2, 2)] * 3).bool()
    maps = torch.stack([square(2, 2), square(2, 4), square(6, 6)])  # overlaps of 1, 1/3 and 0
    scores = Localization(n_alphas=2, iou=0.5).score(case_of(maps, masks))
    assert scores["candidates"][:, 1].tolist() == [0, 1, 1] and torch.allclose(
        scores["iou"][:, 1], torch.tensor([1, 8 / 24, 0.0])
    )
    assert Localization(n_alphas=2, iou=0.3).score(case_of(maps, masks))["candidates"][:, 1].tolist() == [0, 0, 1]
    assert torch.allclose(scores["iou"][:, 0], torch.tensor(0.16))  # alpha 0 is the whole image: the paper's baseline


def test_the_best_of_several_boxes_counts_and_padding_does_not():
    boxes = torch.tensor([[[6.0, 6, 10, 10], [2, 2, 6, 6]], [[6, 6, 10, 10], [torch.nan] * 4]])
    scores = Localization(alpha=0.5).score(
        case_of(torch.stack([square(2, 2)] * 2), torch.ones(2, 10, 10).bool(), boxes)
    )
    assert scores["iou"].flatten().tolist() == [1, 0] and scores["candidates"].flatten().tolist() == [0, 1]


def test_no_box_and_no_map_are_nan():
    maps, masks = (
        torch.stack([square(2, 2), square(2, 2) * torch.nan]),
        torch.stack([torch.zeros(10, 10), square(2, 2)]).bool(),
    )
    assert Localization(n_alphas=3).score(case_of(maps, masks))["candidates"].isnan().all()


def test_neighbours_do_not_matter():
    draw = torch.Generator().manual_seed(0)
    maps, masks = torch.randn(5, 12, 12, generator=draw), torch.rand(5, 12, 12, generator=draw) < 0.1
    whole = Localization().score(case_of(maps, masks))
    for i in range(5):
        alone = Localization().score(case_of(maps[[i]], masks[[i]]))
        assert torch.equal(alone["candidates"][0], whole["candidates"][i])
