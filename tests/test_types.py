import pytest
import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.types import Batch, Segments, tight_box


def test_tight_boxes():
    mask = torch.zeros(4, 6, 8, dtype=torch.bool)
    mask[0, 2, 3] = True
    mask[1, 1:4, 2:7] = True
    mask[2, 0, 0] = mask[2, 5, 7] = True
    box = tight_box(mask)
    assert box[:3].tolist() == [[3, 2, 4, 3], [2, 1, 7, 4], [0, 0, 8, 6]] and box[3].isnan().all()


def test_annotated_boxes_come_first_then_masks():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 1] = True
    about = {
        "image": torch.zeros(1, 3, 4, 4),
        "label": torch.zeros(1, dtype=torch.long),
        "image_id": ("a",),
        "index": torch.zeros(1),
    }
    assert Batch(**about, masks={"label": mask}).box().tolist() == [[[1, 1, 2, 2]]]
    given = torch.tensor([[[0.0, 0, 2, 2], [1, 1, 4, 4]]])
    assert torch.equal(Batch(**about, masks={"label": mask}, boxes={"label": given}).select([0]).box(), given)
    with pytest.raises(ValueError, match="no boxes and no mask of 'nose'; there are label"):
        Batch(**about, masks={"label": mask}).box("nose")


def test_portraits_have_boxes_of_every_part():
    batch = Portraits(size_px=32).batch(range(4))
    for part in (*Portraits.part_names, "label"):
        box = batch.box(part)
        assert box.shape == (4, 1, 4)
        for i, (left, top, right, bottom) in enumerate(box[:, 0].nan_to_num(0).int().tolist()):
            mask = batch.masks[part][i]
            assert mask[top:bottom, left:right].sum() == mask.sum()


def test_sums_over_segments_and_back():
    segments = Segments(
        label=torch.tensor([[[0, 0, 1], [2, 1, 1]], [[0, 0, 0], [1, 1, 1]]]), count=torch.tensor([3, 2])
    )
    sums = segments.sums(torch.arange(12.0).view(2, 1, 2, 3))
    assert sums.tolist() == [[[1.0, 11.0, 3.0]], [[21.0, 30.0, 0.0]]]
    assert segments.spread(sums)[0, 0].tolist() == [[1.0, 1.0, 11.0], [3.0, 11.0, 11.0]]
