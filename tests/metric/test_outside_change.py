import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.outside_change import OutsideChange
from tests.metric.test_fidelity import BlackByMask
from tests.metric.test_localization import square
from tests.tiny import ConstantFiller, TinyLinear, batch_of


def case_of(weight, masks, batch_size=64):
    image = torch.ones(len(masks), 3, *masks.shape[1:])
    classifier = TinyLinear(weight=weight[None].expand(1, 3, -1, -1).double().contiguous(), output="identity")
    batch, target = batch_of(image, masks={"label": masks.bool()}), torch.zeros(len(masks), dtype=torch.long)
    return Case(
        batch=batch, target=target, classifier=view(classifier, "black_box", batch_size), streams=RandomStreams(0)
    )


def metric(filler=None, **options):
    return OutsideChange(sampler=filler or ConstantFiller(), **{"patch_px": 2, "stride_px": 2, **options})


def test_only_patches_beside_the_box_count():
    """White image, black patches: a patch takes 3 times the weight below it."""
    weight = torch.zeros(10, 10)
    weight[4:6, 4:6] = 100.0  # inside the box
    weight[0:2, 0:2], weight[8:10, 8:10] = 1.0, -1.0
    scores = metric().score(case_of(weight, square(3, 3)[None]))
    outside = scores["outside"][0].view(5, 5)
    assert not outside[1:4, 1:4].any() and outside.sum() == 16  # patches at 2..6 touch the box 3..7
    assert float(scores["value"]) == pytest.approx((12 + 12) / 16) and float(scores["clean"]) == pytest.approx(1200.0)
    assert float(metric(signed=True).score(case_of(weight, square(3, 3)[None]))["value"]) == pytest.approx(
        0.0, abs=1e-5
    )
    aligned = metric().score(case_of(weight, square(4, 4, 2)[None]))["outside"]
    assert aligned.sum() == 24  # a patch that ends where the box begins does not touch it


def test_nothing_outside_and_no_box_are_nan():
    masks = torch.stack([torch.ones(10, 10), torch.zeros(10, 10), square(3, 3)])
    value = metric().score(case_of(torch.ones(10, 10), masks))["value"]
    assert value[:2].isnan().all() and value[2].isfinite()


def test_fillers_that_look_at_the_mask_and_batch_size():
    weight, masks = (
        torch.randn(10, 10, generator=torch.Generator().manual_seed(0)),
        square(3, 3)[None].expand(3, -1, -1),
    )
    whole = metric().score(case_of(weight, masks))["value"]
    torch.testing.assert_close(metric(BlackByMask()).score(case_of(weight, masks, 7))["value"], whole)
    case = case_of(weight, masks)
    metric().score(case)
    assert case.classifier.queries == 3 * metric().cost((3, 10, 10), 0).queries == 3 * 26
    with pytest.raises(ValueError, match="patch_px must be <= 10, the side of the images, got 11"):
        metric(patch_px=11).score(case)
