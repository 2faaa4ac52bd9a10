"""S3 against a plain computation with the checkpoint's own module, on a made-up checkpoint; what is counted and
refused."""

import pytest
import torch
from torch import nn

from pomelo_lab.compat import ensure
from pomelo_lab.config.signature import node_problems
from pomelo_lab.metric.simsiam_similarity import OracleSimilarity, SimSiamSimilarity
from tests.metric.counterfactuals import case_of
from tests.tiny import TinyLinear, tiny_image


class Published(nn.Module):
    """The module that was saved, as the published training has it: an encoder whose last layer became a projector, and
    a predictor."""

    def __init__(self):
        super().__init__()
        ensure()
        from torchvision.models import resnet50

        self.encoder = resnet50(num_classes=2048)
        last = self.encoder.fc
        hidden = [nn.Linear(2048, 2048, bias=False), nn.BatchNorm1d(2048), nn.ReLU()]
        again = [nn.Linear(2048, 2048, bias=False), nn.BatchNorm1d(2048), nn.ReLU()]
        self.encoder.fc = nn.Sequential(*hidden, *again, last, nn.BatchNorm1d(2048, affine=False))
        self.predictor = nn.Sequential(nn.Linear(2048, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2048))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(the module in evaluation mode, its checkpoint).

    Its running statistics are not those of a new network: training mode would show.
    """
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Published()
    for name, value in made.state_dict().items():
        if "running" in name:
            drawn = torch.randn(value.shape, generator=rng)
            value.copy_(0.1 * drawn if "mean" in name else 0.5 + drawn.abs())
    path = tmp_path_factory.mktemp("simsiam") / "checkpoint_0099.pth.tar"
    state = {f"module.{name}": value for name, value in made.state_dict().items()}
    torch.save(
        {
            "epoch": 100,
            "arch": "resnet50",
            "state_dict": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.05}]},
        },
        path,
    )
    return made.eval(), path


def test_projections_of_the_published_layout(published):
    made, path = published
    case = case_of(
        label=torch.zeros(6, dtype=torch.long),
        image=(tiny_image(6, (3, 32, 32)) * 255).round() / 255,
        flipped=torch.tensor([1.0, 0] * 3),
    )
    scores = SimSiamSimilarity(weights=str(path)).score(case)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        one, other = (
            made.encoder((x - mean) / std).double() for x in (case.batch.image, case.explanation.counterfactual)
        )
    expected = (one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)
    counted = case.target == 0  # classified correctly, reached or not
    assert 0 < int(counted.sum()) < 6 and len(set(case.explanation.extra["flipped"][counted].tolist())) == 2
    assert torch.equal(scores["counted"] > 0.5, counted) and torch.equal(scores["value"].isnan(), ~counted)
    torch.testing.assert_close(scores["value"][counted], expected[counted], atol=1e-5, rtol=0)
    assert float(expected.max()) < 0.999  # the images differ, and so would another network's cosines
    summary = SimSiamSimilarity(weights=str(path)).summarize(scores, {})
    assert summary.n == int(counted.sum()) and summary.mean == pytest.approx(float(expected[counted].mean()), abs=1e-5)


def test_an_unchanged_image_is_fully_alike(published):
    image = (tiny_image(2, (3, 32, 32)) * 255).round() / 255
    scores = SimSiamSimilarity(weights=str(published[1]), population="all").score(
        case_of(image=image, counterfactual=image)
    )
    torch.testing.assert_close(scores["value"], torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_refused_without_the_published_network(tmp_path, published):
    text = "weights must be SimSiam's ResNet-50 checkpoint .* got None; without one use metrics=s3_oracle"
    with pytest.raises(ValueError, match=text):
        SimSiamSimilarity()
    [problem] = node_problems(
        {"_target_": "pomelo_lab.metric.simsiam_similarity.SimSiamSimilarity", "weights": None}, "metrics.s3"
    )
    assert problem.startswith("metrics.s3.weights must be SimSiam's")
    with pytest.raises(ValueError, match="metric SimSiamSimilarity: weights: there is no file .*nowhere.pth.tar"):
        SimSiamSimilarity(weights=str(tmp_path / "nowhere.pth.tar"))
    made, _ = published
    classified = {f"module.encoder.{n}": v for n, v in made.encoder.state_dict().items() if not n.startswith("fc.")}
    classified |= {"module.encoder.fc.weight": torch.zeros(1000, 2048), "module.encoder.fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": classified}, tmp_path / "lincls.pth.tar")
    with pytest.raises(
        ValueError,
        match="does not fit SimSiam's ResNet-50 .*; missing: encoder.fc.0.weight.*unknown: encoder.fc.weight",
    ):
        SimSiamSimilarity(weights=str(tmp_path / "lincls.pth.tar"))


def test_the_oracle_s_own():
    """Features are the pixels."""
    case = case_of(label=torch.tensor([0, 1] * 3), flipped=torch.zeros(6))
    metric = OracleSimilarity(network=TinyLinear.random(2, (3, 8, 8), dtype=torch.float64))
    value = metric.score(case)["value"]
    one, other = case.batch.image.flatten(1).double(), case.explanation.counterfactual.flatten(1).double()
    expected = (one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)
    right = case.target == case.batch.label
    assert 0 < int(right.sum()) < 6
    torch.testing.assert_close(value[right], expected[right], atol=1e-6, rtol=0)
    assert torch.equal(value.isnan(), ~right)
