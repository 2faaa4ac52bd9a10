import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.max_sensitivity import MaxSensitivity
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch


def score(explain, batch=None, **options):
    batch = tiny_batch(3) if batch is None else batch
    target = torch.zeros(len(batch), dtype=torch.long)

    def explain_again(images):
        return Explanation(target=target, attribution=explain(images))

    return MaxSensitivity(**options).score(
        Case(batch=batch, explanation=explain_again(batch.image), streams=RandomStreams(0), explain_again=explain_again)
    )


def test_largest_relative_change_of_a_map_that_is_the_image():
    batch = tiny_batch(3)
    scores = score(lambda images: images.sum(1), batch, n_neighbours=4, radius=0.1, clamp=False)
    size = batch.image.sum(1).flatten(1).norm(dim=1)
    moves = [
        0.1 * (2 * RandomStreams(0).uniform(batch.image_id, f"max_sensitivity.{k}", 3, 8, 8) - 1) for k in range(4)
    ]
    expected = torch.stack([m.sum(1).flatten(1).norm(dim=1) / size for m in moves], 1)
    torch.testing.assert_close(scores["changes"].float(), expected, atol=1e-5, rtol=0)
    assert torch.equal(scores["value"], scores["changes"].amax(1))


def test_constant_explainer_clamping_and_zero_maps():
    assert float(score(lambda images: torch.ones(3, 8, 8))["value"].max()) == 0
    seen = []
    score(lambda images: seen.append(images) or images.sum(1), radius=0.9)
    assert 0 <= float(torch.cat(seen).min()) and float(torch.cat(seen).max()) <= 1
    assert score(lambda images: images.sum(1) * 0)["value"].isnan().all()


def test_each_image_has_its_own_neighbours():
    batch = tiny_batch(3)
    whole = score(lambda images: images.sum(1), batch)["value"]
    alone = score(lambda images: images.sum(1), batch.select([1]))["value"]
    assert float(alone) == pytest.approx(float(whole[1]), abs=1e-6)
