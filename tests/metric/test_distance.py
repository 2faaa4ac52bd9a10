import numpy as np
import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric import distance
from pomelo_lab.metric.distance import L2, SSIM
from pomelo_lab.types import Perturbations
from tests.tiny import batch_of, tiny_image


def case_of(n=3, n_perturbations=5, shape=(3, 16, 20)):
    image = (tiny_image(n * n_perturbations, shape, seed=1) * 255).round().to(torch.uint8)
    return Case(
        batch=batch_of(tiny_image(n, shape)), perturbations=Perturbations(image=image.view(n, n_perturbations, *shape))
    )


def test_l2_against_numpy():
    case = case_of()
    image, perturbed = case.batch.image.double().numpy(), case.perturbations.image.numpy() / 255
    expected = np.sqrt(((perturbed - image[:, None])[:, 1:] ** 2).sum((2, 3, 4))).mean(1)
    assert np.allclose(L2().score(case)["value"].numpy(), expected, rtol=1e-6)


def test_an_image_is_at_distance_0_and_similarity_1_of_itself():
    case = case_of()
    twice = Perturbations.quantize(case.batch.image.clone())[:, None].expand(-1, 2, -1, -1, -1)
    same = Case(batch=case.batch, perturbations=Perturbations(image=twice))
    assert L2().score(same)["value"].tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert SSIM().score(same)["value"].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert SSIM(gaussian=True).score(same)["value"].tolist() == pytest.approx([1, 1, 1], abs=1e-6)


def test_black_out_of_everything_is_the_norm_of_the_image():
    batch = case_of().batch
    black = Case(batch=batch, perturbations=Perturbations(image=torch.zeros(3, 2, 3, 16, 20, dtype=torch.uint8)))
    assert L2().score(black)["value"].tolist() == pytest.approx(batch.image.flatten(1).norm(dim=1).tolist(), rel=1e-6)


@pytest.mark.parametrize("metric", [L2(), SSIM(), SSIM(gaussian=True)])
def test_chunks_and_neighbours_do_not_matter(metric, monkeypatch):
    case = case_of()
    whole = metric.score(case)["value"]
    alone = metric.score(Case(batch=case.batch.select([1]), perturbations=case.perturbations.select([1])))["value"]
    monkeypatch.setattr(distance, "VALUES_AT_ONCE", 2 * 3 * 16 * 20)
    assert torch.allclose(metric.score(case)["value"], whole, atol=1e-7, rtol=0)
    assert torch.allclose(alone[0], whole[1], atol=1e-7, rtol=0)


def test_windows_that_do_not_fit():
    with pytest.raises(ValueError, match="window_px"):
        SSIM(window_px=8)
    with pytest.raises(ValueError, match="window of 11"):
        SSIM(gaussian=True).score(case_of(shape=(3, 10, 10)))
