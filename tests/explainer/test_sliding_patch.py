import pytest
import torch

from pomelo_lab.explainer.sliding_patch import SlidingPatchExplainer
from tests.explainer.removing import TARGET, ByMask, black, explained, same_alone_and_in_any_batch
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch


def sliding(filler=None, **options):
    return SlidingPatchExplainer(sampler=filler or black(), **{"patch_px": 2, "stride_px": 2, **options})


def linear(seed=0):
    weight = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return TinyLinear(weight=weight, output="identity")


def test_the_drop_is_what_the_patch_held():
    batch, classifier = tiny_batch(3), linear()
    explanation, box = explained(
        sliding(ConstantFiller(value=0.4), patch_px=3, stride_px=1), batch, classifier=classifier
    )
    lost = (classifier.weight[TARGET] * (batch.image.double() - 0.4)).sum(1)  # [B,H,W]
    expected = lost.unfold(1, 3, 1).unfold(2, 3, 1).sum((3, 4))
    torch.testing.assert_close(explanation.extra["grid"].double(), expected, atol=1e-5, rtol=0)
    assert box.queries == 3 * (1 + 36) == 3 * sliding(patch_px=3, stride_px=1).cost((3, 8, 8)).queries


@pytest.mark.parity
@pytest.mark.parametrize(("patch", "stride"), [(2, 2), (4, 4), (3, 1), (3, 2), (2, 3)])
def test_covering_is_captum_s_occlusion(patch, stride):
    captum = pytest.importorskip("captum.attr")
    batch, classifier = tiny_batch(3), TinyLinear.random(3, (3, 8, 8), scale=0.3)
    if stride > patch:
        pytest.skip("captum needs the stride within the window")
    expected = captum.Occlusion(classifier.probability).attribute(
        batch.image, sliding_window_shapes=(3, patch, patch), strides=(3, stride, stride), baselines=0, target=TARGET
    )[:, 0]
    explanation, _ = explained(sliding(patch_px=patch, stride_px=stride, align="cover"), batch, classifier=classifier)
    torch.testing.assert_close(explanation.attribution, expected.float(), atol=1e-5, rtol=0)


def test_where_values_stand():
    weight = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    weight[0, :, 4, 2] = 1.0
    batch, only = tiny_batch(1), TinyLinear(weight=weight, output="identity")
    worth = float(batch.image[0, :, 4, 2].sum())
    target = torch.zeros(1, dtype=torch.long)
    centered = explained(sliding(patch_px=3, stride_px=1, align="center"), batch, target, only)[0].attribution[0]
    expected = torch.zeros(8, 8)
    expected[3:6, 1:4] = worth  # centres of the patches that cover the pixel
    expected[3:6, 0] = worth  # beyond the outermost centre its value holds
    torch.testing.assert_close(centered, expected)
    stretched = explained(sliding(patch_px=3, stride_px=1), batch, target, only)[0]
    again = torch.nn.functional.interpolate(stretched.extra["grid"][:, None], (8, 8), mode="bilinear")[:, 0]
    torch.testing.assert_close(stretched.attribution, again.float())
    covered = explained(sliding(align="cover"), batch, target, only)[0].attribution[0]
    assert covered[4:6, 2:4].eq(torch.tensor(worth)).all() and covered.sum() == pytest.approx(4 * worth, rel=1e-6)


@pytest.mark.parametrize("align", ["stretch", "center", "cover"])
def test_neighbours_and_batch_size_do_not_matter(align):
    same_alone_and_in_any_batch(lambda: sliding(patch_px=3, align=align))


def test_fillers_that_look_at_the_mask_and_patches_that_do_not_fit():
    by_mask, _ = explained(sliding(ByMask()))
    by_base, _ = explained(sliding(ConstantFiller(value=0.25)))
    torch.testing.assert_close(by_mask.attribution, by_base.attribution)
    assert sliding(ByMask()).cost((3, 8, 8)).evaluations == 16
    with pytest.raises(ValueError, match="explainer.patch_px must be <= 8, the side of the images, got 9"):
        explained(sliding(patch_px=9))


def test_the_paper_s_grid():
    assert [len(sliding(patch_px=p, stride_px=3).places(224)) for p in (29, 5, 17, 41, 53)] == [66, 74, 70, 62, 58]
