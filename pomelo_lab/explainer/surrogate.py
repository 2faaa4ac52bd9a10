"""Local linear surrogates, batched over images: interpretable vectors, kernels, feature selection, weighted ridge.

All sums are in float64. Images with fewer segments than the others of the batch get padding columns. `valid` marks the
columns that are not padding. Padding never enters a fit, so an image's surrogate does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.batching import MicroBatches
from pomelo_lab.config.hints import NonNegative
from pomelo_lab.types import to_8_bits

Distance = Literal["cosine", "euclidean"]
Penalty = NonNegative | Literal["cv"]
SHARES = torch.logspace(-4, 3, 29, dtype=torch.float64)  # candidate penalties, in units of the mean eigenvalue
Selection = Literal["auto", "none", "highest_weights", "forward_selection", "lasso_path"]


@dataclass(frozen=True)
class Surrogate:
    """A fitted linear model per image, all float64.

    coefficient:      [B,S], exactly 0 for columns that were not used
    intercept:        [B]
    score:            [B], weighted R^2; NaN where all answers are equal, since it is undefined there
    local_prediction: [B], the model's answer for the image itself (all ones)
    condition:        [B], condition number of the penalised normal matrix of the used columns
    penalty:          [B], the ridge penalty
    """

    coefficient: Tensor
    intercept: Tensor
    score: Tensor
    local_prediction: Tensor
    condition: Tensor
    penalty: Tensor


def distance_representation(image: Tensor, perturbed: Tensor, label: Tensor, n_segments: int) -> Tensor:
    """The interpretable vectors of full-input samplers: how much of each segment a perturbation keeps.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, eq. 1: r = 1 - sum |x - x'| /
        sum max(x, 1 - x), over the pixels and channels of each segment. The largest possible difference of a value x is
        max(x, 1 - x), so r is 1 for the image itself and 0 for its opposite. Both images are compared in 8 bits, the
        precision of storage: sums of integers are exact in any order.

    Shapes: image [B,C,H,W], perturbed uint8 [B,N,C,H,W], label [B,H,W] -> float64 [B,N,S]; columns without pixels are
        1.
    Cost: blocks of perturbations that fit the CPU's cache: about 15 ms per image for 800 of 64x64.
    """
    values = image[0].numel()
    block = MicroBatches(max(1, (2**18 if image.device.type == "cpu" else 2**26) // values))
    exact = torch.float32 if 255 * values < 2**24 else torch.float64
    stored = to_8_bits(image)
    out = []
    for x, rows, segment in zip(stored, perturbed, label, strict=True):
        member = torch.nn.functional.one_hot(segment.flatten(), n_segments).to(exact)
        start = x.to(exact)
        largest = torch.maximum(start, 255 - start).sum(0).flatten() @ member

        def differences(a: int, b: int, rows: Tensor = rows, x: Tensor = start, member: Tensor = member) -> Tensor:
            return rows[a:b].to(x).sub_(x).abs_().sum(1).flatten(1) @ member

        ratio = block.rows(differences, len(rows)).double() / largest.double().clamp_min(1)
        out.append(1 - ratio)
    return torch.stack(out)


def interpretable_distance(data: Tensor, valid: Tensor, metric: Distance) -> Tensor:
    """Distance of each interpretable vector to that of the image, which is all ones: [B,N,S], bool [B,S] -> [B,N].

    A vector of zeros has cosine distance 1.

    Source: the lime package (scikit-learn's pairwise distances to row 0).
    """
    data = data * valid[:, None]
    count = valid.sum(1, keepdim=True).to(data)  # the root of an integer tensor would be float32
    if metric == "euclidean":
        return (valid[:, None].to(data) - data).square().sum(2).sqrt()
    norm = data.square().sum(2).sqrt()
    cosine = torch.where(norm > 0, data.sum(2) / (norm * count.sqrt()).clamp_min(1e-300), 0)
    return (1 - cosine).clamp(0, 2)


def pixel_distance(image: Tensor, perturbed: Tensor, metric: Distance) -> Tensor:
    """Distance of each perturbation to the image, over all values scaled to [0,1].

    Shapes: image [B,C,H,W], perturbed uint8 [B,N,C,H,W] -> float64 [B,N].
    """
    block = MicroBatches(max(1, (2**18 if image.device.type == "cpu" else 2**25) // image[0].numel()))
    out = []
    for x, rows in zip(to_8_bits(image), perturbed, strict=True):
        x = x.flatten().double()

        def distances(a: int, b: int, rows: Tensor = rows, x: Tensor = x) -> Tensor:
            part = rows[a:b].flatten(1).to(x)
            if metric == "euclidean":
                return (part - x).square().sum(1).sqrt() / 255
            norm = part.square().sum(1).sqrt() * x.square().sum().sqrt()
            return (1 - torch.where(norm > 0, part @ x / norm.clamp_min(1e-300), 0)).clamp(0, 2)

        out.append(block.rows(distances, len(rows)))
    return torch.stack(out)


def kernel_weight(distance: Tensor, width: float) -> Tensor:
    """The exponential kernel of the lime package: sqrt(exp(-d^2 / w^2)) = exp(-d^2 / 2w^2)."""
    return torch.exp(distance.square() / (-2 * width**2))


def center(data: Tensor, answer: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres columns and answers by their weighted means and multiplies them by sqrt(weight).

    Returns: (columns [B,N,S], answers [B,N], mean of the columns [B,1,S], mean of the answers [B,1]).
    """
    total = weight.sum(1, keepdim=True)
    mean = weight[:, None] @ data / total[:, None]
    middle = (weight * answer).sum(1, keepdim=True) / total
    root = weight.sqrt()
    return (data - mean) * root[..., None], (answer - middle) * root, mean, middle


def fit_ridge(
    data: Tensor, answer: Tensor, weight: Tensor, alpha: Penalty, used: Tensor, standardize: bool = False
) -> Surrogate:
    """Ridge regression with sample weights and an unpenalised intercept, one model per image, solved as one batch.

    Source: Ribeiro et al. (2016), https://arxiv.org/abs/1602.04938, as scikit-learn's Ridge(alpha).fit(...,
        sample_weight) in the lime package.

    Args:
        alpha: the penalty; 0 = the least-squares solution of least norm; "cv" = for each image the penalty that
            predicts left-out perturbations best (see `validated_penalty`).
        used: columns that enter the model.
        standardize: penalise coefficients per weighted standard deviation of their column. Each coefficient then
            shrinks by the same factor W / (W + alpha), where W is the sum of the weights, however little its column
            varies. Otherwise the factor is SS / (SS + alpha), where SS is the column's sum of squares. Coefficients
            are always returned per unit of the column.
    Shapes: data float64 [B,N,S], answer and weight [B,N], used bool [B,S].
    Cost: one S x S eigendecomposition per image.
    """
    columns, target, mean, middle = center(data, answer, weight)
    columns = columns * used[:, None]
    scale = torch.ones_like(mean[:, 0])
    if standardize:
        scale = (columns.square().sum(1) / weight.sum(1, keepdim=True)).sqrt()
        used = used & (scale > 1e-12)
        scale = torch.where(used, scale, 1)
        columns = columns * used[:, None] / scale[:, None]
    penalty = choose_penalty(columns, target, weight, used) if alpha == "cv" else torch.full_like(target[:, 0], alpha)
    gram = columns.mT @ columns
    diagonal = gram.diagonal(dim1=1, dim2=2)
    # Unused columns get the mean eigenvalue of the used ones: they then solve to 0 and leave the condition number
    # alone.
    typical = diagonal.sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp_min(1)
    gram = gram + torch.diag_embed(torch.where(used, 0, typical) + penalty[:, None])
    value, vector = torch.linalg.eigh(gram)
    floor = value[:, -1:] * (value.shape[1] * torch.finfo(value.dtype).eps)
    inverse = torch.where(value > floor, 1 / value.clamp_min(1e-300), 0)
    projected = columns.mT @ target[..., None]
    standard = (vector @ (inverse[..., None] * (vector.mT @ projected)))[..., 0]
    coefficient = torch.where(used, standard, 0) / scale
    intercept = middle[:, 0] - (mean[:, 0] * coefficient).sum(1)

    residual = (target - (columns @ (coefficient * scale)[..., None])[..., 0]).square().sum(1)
    spread = target.square().sum(1)
    score = torch.where(spread > 1e-24 * weight.sum(1), 1 - residual / spread.clamp_min(1e-300), torch.nan)
    condition = value[:, -1] / value[:, 0].clamp_min(1e-300)
    return Surrogate(coefficient, intercept, score, intercept + coefficient.sum(1), condition, penalty)


def choose_penalty(columns: Tensor, target: Tensor, weight: Tensor, used: Tensor) -> Tensor:
    """Chooses the ridge penalty of each image by leave-one-out cross-validation over its perturbations: float64 [B].

    Source: Allen (1974), https://doi.org/10.1080/00401706.1974.10489157, PRESS; Golub, Heath & Wahba (1979),
        https://doi.org/10.1080/00401706.1979.10489751, eq. 1.3: one fit gives every left-out error, e_i / (1 - h_ii).
    Args:
        columns, target: centred by their weighted means and multiplied by sqrt(weight), so that the penalty does not
            apply to the intercept.
        used: columns that enter the model; all others are 0. The candidate penalties are multiples of the mean
            eigenvalue of the used columns, so padding columns have no effect.
    Shapes: columns [B,N,S], target and weight [B,N], used bool [B,S]. Cost: one S x S eigendecomposition per image.
    """
    value, vector = torch.linalg.eigh(columns.mT @ columns)
    value = value.clamp_min(0)
    typical = value.sum(1, keepdim=True) / used.sum(1, keepdim=True).clamp_min(1)
    candidate = SHARES.to(value) * typical.clamp_min(1e-300)  # [B,G]
    inverse = 1 / (value[:, None] + candidate[..., None])  # [B,G,S]
    turned = columns @ vector
    fitted = turned @ (inverse * (turned.mT @ target[..., None])[:, None, :, 0]).mT  # [B,N,G]
    leverage = turned.square() @ inverse.mT + (weight / weight.sum(1, keepdim=True))[..., None]
    error = ((target[..., None] - fitted) / (1 - leverage).clamp_min(1e-9)).square().sum(1)
    return candidate.gather(1, error.argmin(1, keepdim=True))[:, 0]


def select_features(
    data: Tensor, answer: Tensor, weight: Tensor, method: Selection, n_features: int | None, valid: Tensor
) -> Tensor:
    """Chooses the columns that enter the surrogate: bool [B,S].

    Source: `LimeBase.feature_selection` of the lime package, with the same methods.
        none:              all columns.
        highest_weights:   the n columns of the largest |coefficient * value for the image| in a ridge fit with alpha
            0.01; all values for the image are 1.
        forward_selection: n times the column that raises the weighted R^2 of least squares most.
        lasso_path:        the last point of the lasso path with at most n non-zero coefficients (a loop over images).
        auto:              forward_selection for n <= 6, otherwise highest_weights.
    """
    if method == "auto":
        method = "forward_selection" if n_features is not None and n_features <= 6 else "highest_weights"
    if method == "none" or (n_features is None and method != "lasso_path"):
        return valid
    if method == "lasso_path":
        return lasso_path(data, answer, weight, n_features, valid)
    n = min(n_features, valid.shape[1])
    if method == "forward_selection":
        return forward_selection(data, answer, weight, n, valid)
    size = fit_ridge(data, answer, weight, 0.01, valid).coefficient.abs()
    first = size.where(valid, -1).sort(dim=1, descending=True, stable=True).indices[:, :n]
    return torch.zeros_like(valid).scatter_(1, first, True) & valid


def forward_selection(data: Tensor, answer: Tensor, weight: Tensor, n: int, valid: Tensor) -> Tensor:
    """Chooses n columns greedily by the weighted R^2 of least squares.

    The gain of a column is its squared partial covariance with the answer, divided by its remaining variance. A chosen
    column is swept out of the Gram matrix. A step therefore costs S^2 instead of S regressions.
    """
    columns, target, _, _ = center(data, answer, weight)
    columns = columns * valid[:, None]
    joint = torch.cat([columns, target[..., None]], dim=2)
    gram = joint.mT @ joint
    initial = gram.diagonal(dim1=1, dim2=2)[:, :-1].clone()
    used = torch.zeros_like(valid)
    for _ in range(n):
        variance = gram.diagonal(dim1=1, dim2=2)[:, :-1]
        live = variance > 1e-10 * initial
        gain = torch.where(live, gram[:, :-1, -1].square() / variance.where(live, 1), 0)
        best = gain.where(valid & ~used, -1).argmax(1, keepdim=True)
        allowed = (valid & ~used).gather(1, best)
        used = used.scatter(1, best, used.gather(1, best) | allowed)
        column = gram.gather(2, best[:, None].expand(-1, gram.shape[1], 1))
        pivot = variance.gather(1, best)[..., None]
        sweep = allowed[..., None] & live.gather(1, best)[..., None]
        gram = gram - torch.where(sweep, column @ column.mT / pivot.where(sweep, 1), 0)
    return used


def lasso_path(data: Tensor, answer: Tensor, weight: Tensor, n_features: int | None, valid: Tensor) -> Tensor:
    """Chooses the columns of the last point on the lasso path that has at most n_features of them.

    scikit-learn computes the path of one image at a time.
    """
    from sklearn.linear_model import lars_path

    columns, target, _, _ = center(data, answer, weight)
    used = torch.zeros_like(valid)
    for row, x, y, usable in zip(used, columns, target, valid, strict=True):
        index = usable.nonzero()[:, 0]
        path = torch.from_numpy(lars_path(x[:, index].cpu().numpy(), y.cpu().numpy(), method="lasso")[2]) != 0
        size = path.sum(0)
        n = len(index) if n_features is None else n_features
        within = [step for step in range(1, path.shape[1]) if size[step] <= n]
        if path.shape[1] > 1:
            row[index[path[:, within[-1] if within else 1].to(index.device)]] = True
        else:  # constant answers give a path of one point: the lime package then keeps all columns
            row[index] = True
    return used
