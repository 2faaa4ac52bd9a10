"""The published perceptual distance against torchmetrics and the lpips package, with made-up backbones."""

import pytest
import torch

from pomelo_lab.metric.perceptual import LPIPS, SigmaL
from tests.metric.counterfactuals import case_of
from tests.metric.networks import backbone
from tests.tiny import tiny_image

NETS = ["alex", "vgg", "squeeze"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """{net: (backbone, its file)}."""
    folder, results = tmp_path_factory.mktemp("lpips"), {}
    for net in NETS:
        results[net] = backbone(net), str(folder / f"{net}.pth")
        torch.save(results[net][0].state_dict(), results[net][1])
    return results


def pair():
    return [(tiny_image(3, (3, 64, 64), seed=k) * 255).round() / 255 for k in (0, 1)]


@pytest.mark.parametrize("net", NETS)
def test_torchmetrics(published, net, monkeypatch):
    """Its public class, which would download the backbone, is given ours."""
    from torchmetrics.functional.image import lpips as theirs
    from torchmetrics.image import LearnedPerceptualImagePatchSimilarity

    made, path = published[net]
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_: made.features)
    one, other = pair()
    value = LPIPS(weights=path, net=net).score(case_of(image=one, counterfactual=other))["value"]
    for b in range(3):
        expected = LearnedPerceptualImagePatchSimilarity(net_type=net, normalize=True)(one[[b]], other[[b]])
        assert float(value[b]) == pytest.approx(float(expected), abs=1e-6) and float(expected) > 0.01


@pytest.mark.parity
@pytest.mark.parametrize("net", NETS)
def test_lpips_package(published, net):
    package = pytest.importorskip("lpips")
    made, path = published[net]
    theirs = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = {
        f"features.{name.split('.', 1)[1]}": value for name, value in theirs.net.state_dict(keep_vars=True).items()
    }
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(made.state_dict()[name])
        one, other = pair()
        expected = theirs(one, other, normalize=True).flatten()
    perceptual = LPIPS(weights=path, net=net).distance(one, other)
    torch.testing.assert_close(perceptual, expected, atol=1e-6, rtol=0)


def test_diversity_is_the_mean_over_pairs_of_runs(published):
    from tests.metric.test_perceptual import several

    made = SigmaL(weights=published["squeeze"][1], net="squeeze", seeds=[0, 1, 2])
    case = several(shape=(3, 32, 32))
    images = [(one.counterfactual * 255).round() / 255 for one in case.explanations]
    expected = sum(made.distance(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2))).double() / 3
    torch.testing.assert_close(made.score(case)["value"], expected, atol=1e-6, rtol=0)
    paper = SigmaL(weights=published["squeeze"][1], net="squeeze", seeds=[0, 1, 2], normalizer="paper").score(case)[
        "value"
    ]
    torch.testing.assert_close(paper, expected / 2, atol=1e-6, rtol=0)  # (n - 1) / (n + 1)
    assert made.overrides() == [{"seed": s} for s in (0, 1, 2)]


def test_an_image_is_no_distance_from_itself_and_another_backbone_is_refused(published):
    one, other = pair()
    metric = LPIPS(weights=published["alex"][1], net="alex")
    assert metric.score(case_of(image=one, counterfactual=one))["value"].tolist() == [0, 0, 0]
    with pytest.raises(
        ValueError,
        match="metric LPIPS: weights: .*alex.pth does not fit the vgg backbone of "
        "torchvision, first at slice1.0.weight",
    ):
        LPIPS(weights=published["alex"][1])
