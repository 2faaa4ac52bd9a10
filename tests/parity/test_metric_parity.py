"""Our metrics against other implementations of the same formulas."""

import numpy as np
import pytest
import torch
from torch import nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.distance import L2, SSIM
from pomelo_lab.metric.fidelity import Deletion
from pomelo_lab.metric.mahalanobis import fit_gaussians, squared_distance
from pomelo_lab.types import Explanation, Perturbations
from tests.tiny import ConstantFiller, TinyLinear, batch_of, tiny_image

pytestmark = pytest.mark.parity


def natural_case(n=2, n_perturbations=3, size=40):
    """Smooth images and noisy, darkened versions of them: flat windows, as in photographs."""
    generator = torch.Generator().manual_seed(0)
    image = nn.functional.interpolate(torch.rand(n, 3, 5, 5, generator=generator), (size, size), mode="bicubic").clamp(
        0, 1
    )
    noise = torch.randn(n, n_perturbations, 3, size, size, generator=generator) * 0.05
    perturbed = Perturbations.quantize((image[:, None] * 0.8 + noise).clamp(0, 1))
    return Case(
        batch=batch_of(Perturbations.dequantize(Perturbations.quantize(image))),
        perturbations=Perturbations(image=perturbed),
    )


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("case", [natural_case(), natural_case(size=17)])
def test_ssim_scikit_image(gaussian, case):
    metrics = pytest.importorskip("skimage.metrics")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False} if gaussian else {}
    image, perturbed = case.batch.image.double().numpy(), case.perturbations.image.numpy() / 255.0
    expected = [
        np.mean([metrics.structural_similarity(x, y, data_range=1, channel_axis=0, **options) for y in several[1:]])
        for x, several in zip(image, perturbed, strict=True)
    ]
    # float32 against float64
    assert SSIM(gaussian=gaussian).score(case)["value"].numpy() == pytest.approx(np.array(expected), abs=1e-5)


def test_ssim_torchmetrics():
    pytest.importorskip("pomelo_lab.compat").ensure()
    functional = pytest.importorskip("torchmetrics.functional.image")
    case = natural_case()
    image = case.batch.image[:, None].expand(-1, 3, -1, -1, -1).flatten(0, 1).double()
    perturbed = case.perturbations.image.flatten(0, 1).double() / 255
    # it pads by mirroring and averages over the padded windows too: compare on the windows inside the image
    _, windows = functional.structural_similarity_index_measure(
        perturbed, image, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = windows[..., 5:-5, 5:-5].mean((1, 2, 3)).view(2, 3)[:, 1:].mean(1)
    assert SSIM(gaussian=True).score(case)["value"].numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_l2_numpy():
    case = natural_case()
    image, perturbed = case.batch.image.double().numpy(), case.perturbations.image.numpy() / 255.0
    expected = np.linalg.norm((perturbed - image[:, None]).reshape(2, 3, -1), axis=2)[:, 1:].mean(1)
    assert L2().score(case)["value"].numpy() == pytest.approx(expected, rel=1e-6)


def test_mahalanobis_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(400, 12, generator=generator, dtype=torch.float64) @ torch.randn(
        12, 12, generator=generator, dtype=torch.float64
    )
    distances = squared_distance(feature, **fit_gaussians(feature, torch.zeros(400, dtype=torch.long)))[:, 0]
    expected = covariance.EmpiricalCovariance().fit(feature.numpy()).mahalanobis(feature.numpy())
    assert distances.numpy() == pytest.approx(expected, abs=1e-6)
    shrunk = squared_distance(feature, **fit_gaussians(feature, torch.zeros(400, dtype=torch.long), shrinkage=0.1))[
        :, 0
    ]
    expected = covariance.ShrunkCovariance(shrinkage=0.1).fit(feature.numpy()).mahalanobis(feature.numpy())
    assert shrunk.numpy() == pytest.approx(expected, abs=1e-6)


def test_deletion_quantus():
    pixel_flipping = pytest.importorskip("quantus.metrics.faithfulness.pixel_flipping")
    classifier = TinyLinear.random(3, (1, 7, 7), scale=0.5)
    image = tiny_image(4, (1, 7, 7))
    attribution = torch.rand(4, 7, 7, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 1, 2, 0])
    theirs = pixel_flipping.PixelFlipping(
        features_in_step=1,
        abs=False,
        normalise=False,
        perturb_baseline=0.2,
        disable_warnings=True,
        display_progressbar=False,
    )(
        model=classifier.network,
        x_batch=image.numpy(),
        y_batch=target.numpy(),
        a_batch=attribution[:, None].numpy(),
        softmax=True,
        device="cpu",
    )
    case = Case(
        batch=batch_of(image),
        target=target,
        explanation=Explanation(target=target, attribution=attribution),
        classifier=view(classifier, "black_box", 32),
        streams=RandomStreams(0),
    )
    curve = Deletion(filler=ConstantFiller(value=0.2), bound=1.0).score(case)["curve"]
    # theirs has no point before the first flip
    assert curve[:, 1:].numpy() == pytest.approx(np.array(theirs), abs=1e-6)
