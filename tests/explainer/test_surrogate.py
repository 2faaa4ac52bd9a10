import pytest
import torch

from pomelo_lab.explainer import surrogate
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_image


def problem(sizes=(6, 9, 4), n=60, seed=0):
    """Binary designs of images with different segment counts, padded with ones: data, answer, weight, valid."""
    generator = torch.Generator().manual_seed(seed)
    width = max(sizes)
    data = torch.ones(len(sizes), n, width, dtype=torch.float64)
    for row, size in zip(data, sizes, strict=True):
        row[1:, :size] = (torch.rand(n - 1, size, generator=generator) > 0.5).double()
    valid = torch.arange(width) < torch.tensor(sizes)[:, None]
    slope = torch.randn(len(sizes), width, generator=generator, dtype=torch.float64) * valid
    answer = (data @ slope[..., None])[..., 0] + 0.3 * torch.randn(
        len(sizes), n, generator=generator, dtype=torch.float64
    )
    weight = surrogate.kernel_weight(surrogate.interpretable_distance(data, valid, "cosine"), 0.25)
    return data, answer, weight, valid


def test_representation_closed_forms():
    """Eq. 1: the image itself gives 1, its opposite 0, and black on one segment sum x / sum max(x, 1-x)."""
    image = tiny_image(2)
    segments = GridSegmenter(n_segments=4).segment(image)
    opposite = (image < 0.5).float()
    black = torch.where(segments.label[:, None] == 2, 0, image)
    perturbed = Perturbations.quantize(torch.stack([image, opposite, black], 1))
    r = surrogate.distance_representation(image, perturbed, segments.label, 5)
    assert torch.equal(r[:, 0], torch.ones(2, 5).double())
    assert torch.equal(r[:, 1, :4], torch.zeros(2, 4).double()) and torch.equal(r[:, :, 4], torch.ones(2, 3).double())
    own = (segments.label == 2)[:, None].double()
    expected = 1 - (image.double() * own).sum((1, 2, 3)) / (torch.maximum(image, 1 - image).double() * own).sum(
        (1, 2, 3)
    )
    torch.testing.assert_close(r[:, 2, 2], expected, atol=1e-7, rtol=0)
    assert torch.equal(r[:, 2, [0, 1, 3]], torch.ones(2, 3).double())


def test_kernel_closed_form():
    """k of S kept: cosine distance 1 - sqrt(k/S); at one half distance 0.293 and weight 0.503 (width 0.25)."""
    kept = torch.tensor([[[1.0] * k + [0.0] * (8 - k) for k in range(9)]], dtype=torch.float64)
    valid = torch.ones(1, 8, dtype=torch.bool)
    away = surrogate.interpretable_distance(kept, valid, "cosine")
    torch.testing.assert_close(away[0], 1 - (torch.arange(9).double() / 8).sqrt(), atol=1e-12, rtol=0)
    assert round(float(away[0, 4]), 3) == 0.293 and round(float(surrogate.kernel_weight(away, 0.25)[0, 4]), 3) == 0.503
    far = surrogate.interpretable_distance(kept, valid, "euclidean")
    torch.testing.assert_close(far[0], (8 - torch.arange(9).double()).sqrt())


def test_pixel_distances():
    image = tiny_image(2)
    perturbed = Perturbations.quantize(torch.stack([image, image * 0.5, torch.zeros_like(image)], 1))
    flat, start = perturbed.flatten(2).double() / 255, image.flatten(1).double()
    expected = (flat - start[:, None]).norm(dim=2)
    torch.testing.assert_close(surrogate.pixel_distance(image, perturbed, "euclidean"), expected, atol=1e-6, rtol=0)
    cosine = 1 - torch.nn.functional.cosine_similarity(flat, start[:, None], dim=2)
    torch.testing.assert_close(surrogate.pixel_distance(image, perturbed, "cosine"), cosine, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["none", "highest_weights", "forward_selection", "lasso_path"])
@pytest.mark.parametrize("standardize", [False, True])
def test_neighbours_and_padding_change_nothing(method, standardize):
    data, answer, weight, valid = problem()
    used = surrogate.select_features(data, answer, weight, method, 3, valid)
    assert not (used & ~valid).any()
    if method in ("highest_weights", "forward_selection"):
        assert used.sum(1).tolist() == [3, 3, 3]
    fit = surrogate.fit_ridge(data, answer, weight, 1.0, used, standardize)
    assert (fit.coefficient[~used] == 0).all()
    for i, size in enumerate(valid.sum(1).tolist()):
        alone = (data[i : i + 1, :, :size], answer[i : i + 1], weight[i : i + 1])
        chosen = surrogate.select_features(*alone, method, 3, valid[i : i + 1, :size])
        assert torch.equal(chosen[0], used[i, :size])
        single = surrogate.fit_ridge(*alone, 1.0, chosen, standardize)
        torch.testing.assert_close(single.coefficient[0], fit.coefficient[i, :size], atol=1e-12, rtol=0)
        for name in ("intercept", "score", "local_prediction"):
            torch.testing.assert_close(getattr(single, name)[0], getattr(fit, name)[i], atol=1e-12, rtol=0)
        torch.testing.assert_close(single.condition[0], fit.condition[i], rtol=1e-9, atol=0)


def test_least_squares_recovers_an_exact_linear_model_and_its_score():
    data, _, weight, valid = problem()
    slope = torch.arange(1, 10).double() * valid
    answer = (data @ slope[..., None])[..., 0] + 0.5
    fit = surrogate.fit_ridge(data, answer, weight, 0.0, valid)
    torch.testing.assert_close(fit.coefficient, slope, atol=1e-10, rtol=0)
    offset = (~valid).double().sum(1) * 0 + 0.5
    torch.testing.assert_close(fit.intercept, offset, atol=1e-9, rtol=0)
    torch.testing.assert_close(fit.score, torch.ones(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(fit.local_prediction, slope.sum(1) + 0.5, atol=1e-9, rtol=0)


def test_shrinkage_is_the_closed_form():
    """coefficients = (G + alpha I)^-1 G slope, G the weighted centred Gram matrix."""
    data, _, weight, valid = problem(sizes=(7, 7))
    slope = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    answer = (data @ slope[..., None])[..., 0]
    fit = surrogate.fit_ridge(data, answer, weight, 1.0, valid)
    for i in range(2):
        w = weight[i] / weight[i].sum()
        middle = data[i] - w @ data[i]
        gram = middle.T @ (weight[i][:, None] * middle)
        expected = torch.linalg.solve(gram + torch.eye(7), gram @ slope[i])
        torch.testing.assert_close(fit.coefficient[i], expected, atol=1e-10, rtol=0)
        value = torch.linalg.eigvalsh(gram + torch.eye(7))
        torch.testing.assert_close(fit.condition[i], value[-1] / value[0], rtol=1e-9, atol=0)


def test_standardized_coefficients_do_not_shrink_with_the_spread_of_r():
    """Row 33 of the notes: r with a hundredth of the spread gives a hundred times the coefficient, not a shrunken
    one."""
    data, _, weight, valid = problem(sizes=(5,), n=400)
    weight = torch.ones_like(weight)
    answer = data[..., 0] * 1.0
    narrow = 1 - (1 - data) * 0.01
    plain, scaled = (
        surrogate.fit_ridge(narrow, answer, weight, 1.0, valid, standardize=s).coefficient[0, 0] for s in (False, True)
    )
    assert plain < 5 and abs(float(scaled) / 100 - 400 / 401) < 1e-3
    constant = narrow.clone()
    constant[..., 1] = 0.7  # a column that never varies has no coefficient
    fit = surrogate.fit_ridge(constant, answer, weight, 1.0, valid, standardize=True)
    assert fit.coefficient[0, 1] == 0 and fit.coefficient.isfinite().all()


def test_constant_answers_have_no_score():
    data, answer, weight, valid = problem()
    fit = surrogate.fit_ridge(data, torch.full_like(answer, 0.3), weight, 1.0, valid)
    assert fit.score.isnan().all() and fit.coefficient.abs().max() < 1e-12


def test_collinear_columns_stay_finite():
    data, answer, weight, valid = problem(sizes=(6, 6))
    data[0, :, 1] = data[0, :, 0]
    for alpha in (0.0, 1.0):
        fit = surrogate.fit_ridge(data, answer, weight, alpha, valid)
        # least norm shares it
        torch.testing.assert_close(fit.coefficient[0, 0], fit.coefficient[0, 1], atol=1e-9, rtol=0)
    used = surrogate.forward_selection(data, answer, weight, 5, valid)
    assert used.sum(1).tolist() == [5, 5]


def test_more_features_than_an_image_has():
    data, answer, weight, valid = problem()
    for method in ("highest_weights", "forward_selection", "lasso_path"):
        used = surrogate.select_features(data, answer, weight, method, 8, valid)
        assert not (used & ~valid).any() and used.sum(1).tolist()[::2] == [6, 4]


def test_the_validated_penalty_is_the_best_on_left_out_perturbations():
    """Against fits that leave each perturbation out in turn; the left-out one counts with its weight."""
    data, answer, weight, valid = problem(n=25)
    fit = surrogate.fit_ridge(data, answer, weight, "cv", valid)
    kept = torch.stack([torch.arange(25)[torch.arange(25) != k] for k in range(25)])
    for i in range(len(data)):
        columns, *_ = surrogate.center(data[i : i + 1], answer[i : i + 1], weight[i : i + 1])
        scale = (columns * valid[i]).square().sum() / valid[i].sum()
        errors = []
        for penalty in (surrogate.SHARES * scale).tolist():
            without = surrogate.fit_ridge(
                data[i][kept], answer[i][kept], weight[i][kept], penalty, valid[i].expand(25, -1)
            )
            left_out = answer[i] - without.intercept - (data[i] * without.coefficient).sum(1)
            errors.append(float((weight[i] * left_out.square()).sum()))
        best = float(surrogate.SHARES[int(torch.tensor(errors).argmin())] * scale)
        assert fit.penalty[i].item() == pytest.approx(best, rel=1e-9)
        plain = surrogate.fit_ridge(data[i : i + 1], answer[i : i + 1], weight[i : i + 1], best, valid[i : i + 1])
        torch.testing.assert_close(fit.coefficient[i], plain.coefficient[0])


@pytest.mark.parametrize("standardize", [False, True])
def test_the_validated_penalty_does_not_change_with_the_padding_beside_an_image(standardize):
    data, answer, weight, valid = problem(sizes=(7,))
    alone = surrogate.fit_ridge(data, answer, weight, "cv", valid, standardize)
    for padding in (5, 20, 60):
        wide = torch.cat([data, torch.ones(1, data.shape[1], padding, dtype=data.dtype)], 2)
        own = torch.cat([valid, torch.zeros(1, padding, dtype=torch.bool)], 1)
        padded = surrogate.fit_ridge(wide, answer, weight, "cv", own, standardize)
        torch.testing.assert_close(padded.penalty, alone.penalty, rtol=1e-9, atol=0)
        torch.testing.assert_close(padded.coefficient[:, :7], alone.coefficient, rtol=1e-7, atol=1e-12)


def test_noise_is_shrunk_and_a_clear_signal_is_not_however_little_the_columns_vary():
    data, _, weight, valid = problem(n=200)
    slope = torch.linspace(-1, 1, data.shape[2], dtype=torch.float64)
    small = 1 - 0.01 * (1 - data)  # a sampler that changes segments by a hundredth
    clear = surrogate.fit_ridge(small, (small @ slope), weight, "cv", valid)
    torch.testing.assert_close(clear.coefficient, slope * valid, atol=1e-2, rtol=0)
    assert surrogate.fit_ridge(small, (small @ slope), weight, 1.0, valid).coefficient.abs().max() < 0.02
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shrunk, free = (surrogate.fit_ridge(small, noise, weight, alpha, valid).coefficient.norm() for alpha in ("cv", 0.0))
    assert shrunk < 0.5 * free
