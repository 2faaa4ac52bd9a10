"""FID against pytorch-fid, and by closed form, with made-up weights."""

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.compat import ensure
from pomelo_lab.metric.frechet_inception_distance import FrechetInceptionDistance, inception
from tests.metric.counterfactuals import case_of
from tests.metric.networks import MeanColour, lively
from tests.tiny import tiny_image


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(state dict, its file)."""
    state = lively(inception()).state_dict()
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    torch.save(state, path)
    return state, str(path)


@pytest.mark.parity
def test_features_of_pytorch_fid(published, monkeypatch):
    ensure()
    theirs = pytest.importorskip("pytorch_fid.inception")
    state, path = published
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: state)
    images = tiny_image(3, (3, 64, 64))
    with torch.no_grad():
        expected = theirs.InceptionV3().eval()(images)[0][:, :, 0, 0]
    feature_vectors = FrechetInceptionDistance(weights=path).features(images)
    assert (
        feature_vectors.shape == (3, 2048)
        and float(expected.std()) > 0.1
        and float((expected[0] - expected[1]).abs().max()) > 0.01
    )
    torch.testing.assert_close(feature_vectors, expected, atol=1e-5, rtol=1e-5)


def test_names_and_pooling_are_the_published_network_s(published):
    state, path = published
    names = list(state)
    assert (
        state["fc.weight"].shape == (1008, 2048)
        and "Mixed_7c.branch_pool.conv.weight" in names
        and not [n for n in names if "Aux" in n]
    )
    network = FrechetInceptionDistance(weights=path).network
    for name, n_channels, pooled in (
        ("Mixed_5b", 192, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        ("Mixed_6e", 768, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        ("Mixed_7b", 1280, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)),
        ("Mixed_7c", 2048, lambda x: F.max_pool2d(x, 3, 1, 1)),
    ):
        block, x = (
            network.get_submodule(name),
            torch.rand(1, n_channels, 8, 8, generator=torch.Generator().manual_seed(0)),
        )
        last = block.branch_pool(pooled(x))
        torch.testing.assert_close(block(x)[:, -last.shape[1] :], last)


def test_another_inception_is_refused(tmp_path):
    ensure()
    from torchvision.models import inception_v3

    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), tmp_path / "inception_v3_google.pth")
    with pytest.raises(
        ValueError,
        match=r"metric FrechetInceptionDistance: weights: .*does not fit the Inception of FID .*fc.weight is "
        r"\[1000, 2048\]",
    ):
        FrechetInceptionDistance(weights=str(tmp_path / "inception_v3_google.pth"))


def test_equal_sets_and_a_closed_form_through_the_accumulation(published, caplog):
    """Images of one colour, counterfactuals of half of it: features f and f / 2 - 1 / 2, so |m - m'|^2 + tr C / 4."""
    images = (2 * torch.randint(0, 128, (40, 3, 1, 1), generator=torch.Generator().manual_seed(0)) / 255).expand(
        -1, -1, 8, 8
    )
    metric = FrechetInceptionDistance(weights=published[1])
    metric.network = MeanColour()
    # as the engine does it
    parts = [metric.score(case_of(image=part, counterfactual=part / 2)) for part in images.split(25)]
    rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    feature = rows["original"].double()
    torch.testing.assert_close(feature, 2 * images[:, :, 0, 0].double() - 1, atol=1e-6, rtol=0)
    mean = feature.mean(0)
    expected = (mean - (mean / 2 - 0.5)).square().sum() + feature.T.cov().trace() / 4
    summary = metric.summarize(rows, {})
    assert (
        summary.mean == pytest.approx(float(expected), rel=1e-5)
        and summary.n == 40
        and summary.details["rank_deficient"] == 0
    )
    assert metric.summarize({**rows, "made": rows["original"]}, {}).mean == pytest.approx(0, abs=1e-9)
    few = {name: value[:3] for name, value in rows.items()}
    assert (
        metric.summarize(few, {}).details["rank_deficient"] == 1
        and "FrechetInceptionDistance of 3 counterfactuals in 3 features is rank-deficient" in caplog.text
    )
    one = metric.summarize({name: value[:1] for name, value in rows.items()}, {})
    assert one.mean != one.mean and one.details == {"wanted": 2.0}


def test_an_unchanged_image_has_no_distance(published):
    image = (tiny_image(2, (3, 32, 32)) * 255).round() / 255
    metric = FrechetInceptionDistance(weights=published[1])
    scores = metric.score(case_of(image=image, counterfactual=image))
    assert scores["made"].shape == (2, 2048) and metric.summarize(scores, {}).mean == pytest.approx(0, abs=1e-6)
