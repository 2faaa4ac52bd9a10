import pytest
import torch

from pomelo_lab.metric.localization import Localization
from pomelo_lab.metric.threshold import area, box_iou, largest_group


def test_boxes_of_a_ramp():
    ramp = torch.zeros(1, 10, 10)
    ramp[0, 4, 2:7] = torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0])
    ramp[0, 8, 0] = 0.3
    boxes = Localization(n_alphas=10).boxes(ramp)[0]
    assert boxes[0].tolist() == [0, 0, 10, 10]  # alpha 0: everything
    assert boxes[2].tolist() == [0, 4, 7, 9] and boxes[5].tolist() == [4, 4, 7, 5] and boxes[9].tolist() == [6, 4, 7, 5]
    assert Localization(n_alphas=10, region="largest").boxes(ramp)[0, 2].tolist() == [2, 4, 7, 5]
    assert Localization(alpha=0.8).boxes(ramp)[0].tolist() == [[5, 4, 7, 5]]  # equal to the threshold is in


def test_maps_without_a_maximum():
    maps = torch.stack(
        [torch.zeros(4, 4), torch.full((4, 4), -1.0), torch.full((4, 4), 0.5), torch.full((4, 4), torch.nan)]
    )
    boxes = Localization(n_alphas=2).boxes(maps)
    assert (boxes[:3] == torch.tensor([0.0, 0, 4, 4])).all() and boxes[3].isnan().all()


def test_largest_group_and_overlap():
    mask = torch.zeros(5, 5, dtype=torch.bool)
    mask[0, 0] = mask[1, 1] = True  # touch at a corner only: two groups
    mask[3:, 3:] = True
    assert largest_group(mask).nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    a, b = torch.tensor([0.0, 0, 4, 2]), torch.tensor([[2.0, 0, 6, 2], [4, 0, 6, 2], [0, 0, 4, 2]])
    assert box_iou(a, b).tolist() == pytest.approx([4 / 12, 0, 1]) and area(a) == 8


def test_alpha_is_chosen_by_the_held_out_images_only():
    metric = Localization(n_alphas=3, held_out=0.5)
    candidates = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    rows = {"candidates": candidates}
    assert metric.values(rows).tolist() == [1, 1]
    summary = metric.summarize(rows, {})
    assert summary.mean == 1 and summary.n == 2 and summary.details == {"alpha": pytest.approx(2 / 3), "held_out": 2}
    tied = torch.ones(4, 3)
    assert metric.summarize({"candidates": tied}, {}).details["alpha"] == 0
    fixed = Localization(alpha=0.4, held_out=0.0)
    assert fixed.values({"candidates": candidates[:, :1]}).tolist() == [0, 0, 1, 1]


def test_held_out_images_without_a_score_do_not_choose():
    candidates = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan], [1.0, 0.0], [torch.nan, torch.nan]])
    summary = Localization(n_alphas=2, held_out=0.5).summarize({"candidates": candidates}, {})
    assert summary.details["alpha"] == 0.5 and summary.n == 1 and summary.n_nan == 1


def test_some_way_to_know_alpha_is_needed():
    with pytest.raises(ValueError, match="held_out must be > 0 unless alpha is given"):
        Localization(held_out=0.0)
