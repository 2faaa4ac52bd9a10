import math

import numpy as np
import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.metric.rise_game import DeletionRise, InsertionRise
from pomelo_lab.sampler.blur import BlurSampler
from tests.metric.test_fidelity import BlackByMask, NoiseByMask, case_of, tied, untied
from tests.tiny import ConstantFiller, TinyLinear


def published(case, step_px, start, finish):
    """CausalMetric.single_run, written again from the description of its steps: one image after another, one step after
    another."""
    values, curves = [], []
    box = view(TinyLinear.random(3, case.batch.image.shape[1:], scale=0.3, dtype=torch.float64), "black_box", 64)
    for i in range(len(case.batch)):
        height, width = case.batch.image.shape[2:]
        n_steps = (height * width + step_px - 1) // step_px
        order = np.flip(np.argsort(case.explanation.attribution[i].numpy().reshape(-1), kind="stable"))
        now, end = start[i].reshape(3, -1).clone(), finish[i].reshape(3, -1)
        scores = []
        for step in range(n_steps + 1):
            scores.append(float(box.probability(now.reshape(1, 3, height, width))[0, case.target[i]]))
            places = order[step_px * step : step_px * (step + 1)].copy()
            now[:, places] = end[:, places]
        scores = np.array(scores)
        values.append((scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1))
        curves.append(scores)
    return torch.tensor(values), torch.tensor(np.array(curves))


@pytest.mark.parametrize("maps", [tied, untied])
@pytest.mark.parametrize("step_px", [1, 5, 36, 50])
def test_the_published_protocol(maps, step_px):
    case = case_of(maps())
    image, zeros, blur = (
        case.batch.image,
        torch.full_like(case.batch.image, 0.25),
        BlurSampler(sigma_px=2.0).base(case.batch.image, None, (), None),
    )
    for metric, start, finish in (
        (DeletionRise(filler=ConstantFiller(value=0.25), step_px=step_px), image, zeros),
        (InsertionRise(filler=BlurSampler(sigma_px=2.0), step_px=step_px), blur, image),
    ):
        scores, (value, curve) = metric.score(case), published(case, step_px, start, finish)
        torch.testing.assert_close(scores["curve"].double(), curve, atol=1e-6, rtol=0)
        torch.testing.assert_close(scores["value"], value, atol=1e-6, rtol=0)
        assert metric.cost((3, 6, 6), 0).queries == curve.shape[1]


def test_closed_forms():
    linear = TinyLinear(weight=torch.full((1, 1, 8, 8), 1 / 64), output="identity")
    case = case_of(tied(2, (8, 8)), torch.ones(2, 1, 8, 8), classifier=linear)
    assert DeletionRise(filler=ConstantFiller(), step_px=4).score(case)["value"].tolist() == pytest.approx([0.5, 0.5])
    weight = torch.zeros(1, 1, 8, 8)
    weight[0, 0, 3, 3] = 1.0
    case = case_of(
        weight[0].expand(2, -1, -1), torch.ones(2, 1, 8, 8), classifier=TinyLinear(weight=weight, output="identity")
    )
    assert DeletionRise(filler=ConstantFiller(), step_px=8).score(case)["value"].tolist() == pytest.approx(
        [0.5 / 8] * 2
    )
    assert InsertionRise(filler=ConstantFiller(), step_px=8).score(case)["value"].tolist() == pytest.approx(
        [1 - 0.5 / 8] * 2
    )


def test_fillers_that_look_at_the_mask_batches_and_undefined_maps():
    case = case_of(tied())
    by_base, by_mask = (
        DeletionRise(filler=filler, step_px=5).score(case) for filler in (ConstantFiller(), BlackByMask())
    )
    torch.testing.assert_close(by_base["curve"], by_mask["curve"], atol=1e-6, rtol=0)
    noisy = InsertionRise(filler=NoiseByMask(), step_px=5)
    torch.testing.assert_close(
        noisy.score(case)["curve"], noisy.score(case_of(tied(), batch_size=4))["curve"], atol=1e-6, rtol=0
    )
    broken = tied()
    broken[1, 0, 0] = math.nan
    value = DeletionRise(filler=ConstantFiller(), step_px=5).score(case_of(broken))["value"]
    assert value[1].isnan() and torch.equal(value[[0, 2]], by_base["value"][[0, 2]])
