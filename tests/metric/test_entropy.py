import math

import numpy as np
import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import mean_summary
from pomelo_lab.metric.entropy import HardEntropy, LabelDistribution, SoftEntropy
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, batch_of, tiny_image


def case_of(probability, target=0):
    """The answers on the perturbations that count; perturbation 0 goes before them."""
    n = len(probability)
    probability = torch.cat([probability[:, :1], probability], 1)
    made = Perturbations(
        image=torch.zeros(n, probability.shape[1], 1, 2, 2, dtype=torch.uint8), probability=probability
    )
    return Case(batch=batch_of(torch.zeros(n, 1, 2, 2)), target=torch.full((n,), target), perturbations=made)


def winners(classes, n_classes=5):
    return torch.nn.functional.one_hot(torch.as_tensor(classes), n_classes).float()


def soft(values):
    values = torch.as_tensor(values, dtype=torch.float32)
    return torch.stack([values, 1 - values], -1)


def test_hard_entropy_identities():
    case = case_of(winners([[0, 1, 2, 3, 4] * 4, [2] * 20, [0, 1] * 10]))
    assert HardEntropy().score(case)["value"].tolist() == pytest.approx([math.log2(5), 0, 1], abs=1e-12)
    assert HardEntropy(base="e").score(case)["value"].tolist() == pytest.approx(
        [math.log(5), 0, math.log(2)], abs=1e-12
    )
    assert HardEntropy(base=10).score(case)["value"][0].item() == pytest.approx(math.log10(5), abs=1e-12)
    assert (HardEntropy().unit, HardEntropy(base="e").unit) == ("bits", "nats")
    for wrong in (1, 0.5, "f"):
        with pytest.raises(ValueError, match="base"):
            HardEntropy(base=wrong)


def test_soft_entropy_identities():
    uniform = [(i + 0.5) / 20 for i in range(20)]
    case = case_of(soft([uniform, [0.33] * 20, [1.0] * 20]))
    assert SoftEntropy().score(case)["value"].tolist() == pytest.approx([math.log2(20), 0, 0], abs=1e-9)
    # the explained class is what counts
    assert SoftEntropy().score(case_of(soft([uniform]), target=1))["value"].item() == pytest.approx(
        math.log2(20), abs=1e-9
    )
    differential = SoftEntropy(estimator="differential", base="e").score(case)["value"].tolist()
    # density 1 -> 0; one inner bin -> -ln 20; an end bin is half lost to the trapezoid
    assert differential == pytest.approx([0, -math.log(20), -math.log(20) / 2], abs=1e-9)


def test_bins_are_numpy_bins():
    values = torch.rand(4, 500, generator=torch.Generator().manual_seed(0)).pow(3)
    values[0, :3] = torch.tensor([0.0, 1.0, 0.5])
    metric_value = SoftEntropy().score(case_of(soft(values)))["value"]
    for row, value in zip(values.numpy(), metric_value.tolist(), strict=True):
        share = np.histogram(row.astype(np.float64), bins=20, range=(0, 1))[0] / 500
        share = share[share > 0]
        assert value == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-12)


def test_undefined_probabilities_are_counted():
    probability = winners([[0, 1], [0, 1], [1, 1]])
    probability[1, 0, 0] = math.nan
    for metric in (HardEntropy(), SoftEntropy()):
        value = metric.score(case_of(probability))["value"]
        assert value.isnan().tolist() == [False, True, False]
        assert (mean_summary(value).n, mean_summary(value).n_nan) == (2, 1)
    rows = LabelDistribution().score(case_of(probability))
    assert (LabelDistribution().summarize(rows, {}).n, LabelDistribution().summarize(rows, {}).n_nan) == (2, 1)
    with pytest.raises(ValueError, match="probabilities"):
        HardEntropy().score(Case(batch=batch_of(torch.zeros(1, 1, 2, 2))))


def test_label_distribution():
    metric = LabelDistribution(n_reference=8)
    rows = metric.score(case_of(winners([[0, 0, 1, 1], [2, 2, 2, 3]])))
    assert rows["distribution"].tolist() == [[0.5, 0.5, 0, 0, 0], [0, 0, 0.75, 0.25, 0]]
    expected = -sum(p * math.log2(p) for p in (0.25, 0.25, 0.375, 0.125))
    assert metric.summarize(rows, {}).mean == pytest.approx(expected, abs=1e-12)
    label = torch.tensor([0, 1, 2, 2, 2, 2, -1, -1])
    training = TinyDataset(image=tiny_image(8), label=label)
    assert metric.fit(training, None, RandomStreams(0))["distribution"].tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6])
