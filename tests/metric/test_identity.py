from dataclasses import replace

import pytest
import torch

from pomelo_lab.config.check import ConfigError
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.metric.identity import FVA, FeatureSimilarity, equal_error, people_pairs
from tests.metric.counterfactuals import case_of
from tests.running import config
from tests.tiny import TinyDataset, TinyLinear


def network():
    """Features are the pixels."""
    return TinyLinear.random(2, (3, 8, 8), dtype=torch.float64)


def test_cosine_of_features():
    case = case_of(flipped=torch.tensor([1.0, 1, 1, 1, 1, 0]))
    value = FeatureSimilarity(network=network()).score(case)["value"]
    one, other = case.batch.image.flatten(1).double(), case.explanation.counterfactual.flatten(1).double()
    expected = (one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)
    torch.testing.assert_close(value[:5], expected[:5], atol=1e-6, rtol=0)
    assert value[5].isnan()


def test_verification_at_a_threshold():
    case = replace(case_of(), reference={"threshold": torch.tensor(0.75)})
    scores = FVA(network=network()).score(case)
    assert torch.equal(scores["value"], (scores["cosine"] > 0.75).double())
    given = FVA(network=network(), threshold=0.75)
    assert torch.equal(given.score(case_of())["value"], scores["value"])  # without a reference
    assert not given.fits and FVA(network=network()).fits


def test_people_that_nobody_knows_are_found_before_anything_runs(tmp_path):
    """On data of other people: a threshold that cannot be calibrated, and the identity network of the portraits."""
    celeba = ("dataset=celeba", "dataset.root=nowhere", "sampler=none", "explainer=dime", "metrics=counterfactual")
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, *celeba)
    text = str(caught.value)
    assert (
        "metrics.fva_oracle.threshold must be given for dataset CelebA, whose people are not known; drop it with "
        "~metrics.fva_oracle" in text
    )
    for key in ("fva_oracle", "fs_oracle"):
        assert (
            f"metrics.{key}.network.weights must be of a network trained for dataset CelebA, got zoo:portraits_identity"
            in text
        )
    own = [f"metrics.{key}.network.weights=own.safetensors" for key in ("fva_oracle", "fs_oracle")]
    assert config(tmp_path, *celeba, *own, "metrics.fva_oracle.threshold=0.4")
    assert config(tmp_path, "dataset=portraits", "sampler=none", "explainer=dime", "metrics=counterfactual")


def test_equal_error():
    genuine, impostor = torch.tensor([0.9, 0.8, 0.7, 0.2]), torch.tensor([0.1, 0.0, 0.3, 0.75])
    threshold, error = equal_error(genuine, impostor)
    assert error == 0.25 and 0.3 < threshold <= 0.75
    apart = equal_error(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.2]))
    assert apart[1] == 0 and 0.2 < apart[0] < 0.8001


def test_pairs_of_one_and_of_two_people():
    same, other = people_pairs(Portraits(size_px=24), 6)
    assert same.shape == (12, 3, 24, 24) and other.shape == (6, 3, 24, 24)
    assert not torch.equal(same[:6], same[6:])
    with pytest.raises(ValueError, match="threshold must be given for dataset TinyDataset"):
        people_pairs(TinyDataset(image=torch.rand(4, 3, 8, 8), label=torch.zeros(4, dtype=torch.long)), 2)
