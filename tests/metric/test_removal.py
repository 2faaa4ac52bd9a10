from dataclasses import dataclass, replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.removal import (
    EverythingRemoved,
    RemovalAccuracy,
    RemovalLPIPS,
    RemovalLPIPSOracle,
    RemovalMSSSIM,
    scale_weights,
)
from tests.tiny import ConstantFiller, TinyLinear, batch_of, tiny_image

WHITE = ConstantFiller(value=1.0)


def case_of(image=None, mask=None, label=None, classifier=None, size=16):
    image = tiny_image(3, (3, size, size)) if image is None else image
    n, side = len(image), image.shape[-1]
    if mask is None:
        mask = torch.zeros(n, side, side, dtype=torch.bool)
        mask[:, : side // 2] = True
    batch = batch_of(image, label=torch.zeros(n, dtype=torch.long) if label is None else label, masks={"label": mask})
    box = view(classifier or TinyLinear.random(3, image.shape[1:], scale=0.3), "black_box", 64)
    return Case(batch=batch, classifier=box, streams=RandomStreams(0))


def test_the_object_goes_and_the_rest_stays():
    """Class 1 wins exactly when the upper half is white, class 2 when the lower half is."""
    weight = torch.zeros(3, 3, 16, 16)
    weight[1, :, :8], weight[2, :, 8:] = 1.0, 1.0
    classifier = TinyLinear(weight=weight, bias=torch.tensor([190.0, 0.0, 0.0]))
    image = torch.zeros(2, 3, 16, 16)
    for label, expected in ((0, 0.0), (1, 1.0), (2, 0.0)):
        case = case_of(image, label=torch.full((2,), label), classifier=classifier)
        assert RemovalAccuracy(sampler=ConstantFiller(value=1.0)).score(case)["value"].tolist() == [expected] * 2
    clean = case_of(image, classifier=classifier)
    assert RemovalAccuracy().score(clean)["value"].tolist() == [1.0, 1.0]  # no filler: the image itself


def test_another_judge():
    sure = TinyLinear(weight=torch.zeros(3, 3, 16, 16), bias=torch.tensor([1.0, 0.0, 0.0]))
    case = case_of(classifier=TinyLinear(weight=torch.zeros(3, 3, 16, 16), bias=torch.tensor([0.0, 1.0, 0.0])))
    assert RemovalAccuracy(sampler=WHITE).score(case)["value"].sum() == 0
    assert RemovalAccuracy(sampler=WHITE, judge=sure).score(case)["value"].sum() == 3 and case.classifier.queries == 3


@pytest.mark.parametrize(
    "make", [RemovalAccuracy, RemovalMSSSIM, lambda **o: RemovalLPIPSOracle(oracle=oracle(), layers=["stage1"], **o)]
)
def test_empty_masks_are_nan_and_neighbours_do_not_matter(make):
    mask = torch.zeros(3, 16, 16, dtype=torch.bool)
    mask[1:, 2:9, 3:7] = True
    image = tiny_image(3, (3, 16, 16))
    value = make(sampler=WHITE).score(case_of(image, mask))["value"]
    assert value[0].isnan() and value[1:].isfinite().all()
    for i in (1, 2):
        alone = make(sampler=WHITE).score(case_of(image[[i]], mask[[i]]))["value"]
        torch.testing.assert_close(alone[0], value[i], atol=1e-5, rtol=1e-4)


def test_ms_ssim_is_torchmetrics_with_as_many_scales_as_fit():
    from pomelo_lab.compat import ensure

    ensure()
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    case = case_of(size=192)
    filled = case.batch.image.clone()
    filled[:, :, :96] = 1.0
    value = RemovalMSSSIM(sampler=WHITE).score(case)["value"]
    torch.testing.assert_close(
        value, ms_ssim(filled, case.batch.image, data_range=1.0, reduction="none").double(), atol=1e-6, rtol=0
    )
    assert [len(scale_weights(side)) for side in (11, 22, 64, 128, 176, 224)] == [1, 2, 3, 4, 5, 5]
    assert sum(scale_weights(64)) == pytest.approx(1.0001)
    assert RemovalMSSSIM().score(case_of(size=64))["value"].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    with pytest.raises(ValueError, match="needs images of 11 pixels or more, got 8"):
        RemovalMSSSIM(sampler=WHITE).score(case_of(size=8))


def oracle():
    return PlainClassifier(num_classes=4, width=4, depth=2, output="sigmoid")


def test_lpips_in_an_oracle_s_layers():
    metric, case = RemovalLPIPSOracle(oracle=oracle(), layers=["stage1", "stage2"], sampler=WHITE), case_of()
    filled = case.batch.image.clone()
    filled[:, :, :8] = 1.0
    expected = torch.zeros(3)
    for name in metric.layers:
        with torch.no_grad():
            ours, theirs = (metric.oracle.activations(one, [name])[0] for one in (case.batch.image, filled))
        for b in range(3):
            a, c = (torch.nn.functional.normalize(one[b], dim=0, eps=1e-10) for one in (ours, theirs))
            expected[b] += ((a - c) ** 2).sum(0).mean()
    torch.testing.assert_close(metric.score(case)["value"], expected.double(), atol=1e-5, rtol=1e-4)
    assert RemovalLPIPSOracle(oracle=oracle(), layers=["stage1"]).score(case)["value"].abs().max() < 1e-8


def test_lpips_with_a_local_backbone(tmp_path):
    """The distance of torchmetrics' own network with the same backbone; nothing is downloaded."""
    from pomelo_lab.compat import ensure

    ensure()
    import torchvision

    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    metric, case = RemovalLPIPS(sampler=WHITE, weights=str(tmp_path / "alexnet.pth")), case_of(size=64)
    value = metric.score(case)["value"]
    torch.testing.assert_close(metric.network.net.slice3[1].weight, backbone.features[6].weight)
    assert (value > 0).all() and RemovalLPIPS(weights=str(tmp_path / "alexnet.pth")).score(case)["value"].tolist() == [
        0,
        0,
        0,
    ]
    with pytest.raises(
        ValueError,
        match="weights must be a file with the alex backbone of torchvision .*got None; .*removal_lpips_oracle",
    ):
        RemovalLPIPS(sampler=WHITE)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit the alex backbone"):
        RemovalLPIPS(sampler=WHITE, weights=str(tmp_path / "other.pth"))


def test_parts_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="part must be one of label, got 'nose'"):
        RemovalAccuracy(sampler=WHITE, part="nose").score(case_of())


def test_preservation_fills_what_deletion_keeps():
    case = case_of()
    delete, preserve = (RemovalAccuracy(sampler=ConstantFiller(value=0.5), removes=what) for what in ("part", "rest"))
    both = torch.stack([metric.fill(case.batch, case.streams, None) for metric in (delete, preserve)])
    kept = case.batch.image
    assert torch.equal(both[0, :, :, 8:], kept[:, :, 8:]) and torch.equal(both[1, :, :, :8], kept[:, :, :8])
    assert (both[0, :, :, :8] == 0.5).all() and (both[1, :, :, 8:] == 0.5).all()
    assert delete.direction == "lower" and preserve.direction == "higher" == RemovalAccuracy(removes="rest").direction


def test_metrics_that_remove_the_same_part_fill_it_once():
    @dataclass(kw_only=True)
    class Counted(ConstantFiller):
        def filling(self, *args):
            made.append(self)
            return super().filling(*args)

        def fill_cost(self, n):
            return Cost(evaluations=n)

    made, case, sampler = [], case_of(size=64), Counted()
    metrics = [RemovalAccuracy(sampler=sampler), RemovalMSSSIM(sampler=sampler), RemovalMSSSIM(sampler=Counted())]
    metrics.append(RemovalMSSSIM(sampler=sampler, removes="rest"))
    together = [metric.score(case)["value"] for metric in metrics]
    assert len(made) == 3, "another filler, or another part, is filled by itself"
    assert len({key for metric in metrics for key in metric.shared_cost((3, 64, 64))}) == 3
    for metric, value in zip(metrics, together, strict=True):
        assert torch.equal(metric.score(replace(case, made={}))["value"], value)
        assert metric.cost((3, 64, 64), 0).evaluations == 1


def test_everything_removed_is_the_filler_s_own_image():
    """The probability of the filled image, whatever the image was; without a filler that of the image itself.

    It needs no masks.
    """
    weight = torch.zeros(2, 3, 16, 16)
    weight[1] = 1e-3
    classifier, case = TinyLinear(weight=weight), case_of(classifier=TinyLinear(weight=weight))
    case = Case(
        batch=case.batch, target=torch.ones(3, dtype=torch.long), classifier=case.classifier, streams=case.streams
    )
    white = classifier.probability(torch.ones(1, 3, 16, 16)).detach()[0, 1]
    assert EverythingRemoved(sampler=WHITE).score(case)["value"].tolist() == pytest.approx([float(white)] * 3)
    assert EverythingRemoved().score(case)["value"].tolist() == pytest.approx(
        classifier.probability(case.batch.image).detach()[:, 1].tolist()
    )
    assert "masks" not in EverythingRemoved(sampler=WHITE).needs
