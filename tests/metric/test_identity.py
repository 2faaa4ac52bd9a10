import pytest
import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.metric.identity import FVA, FeatureSimilarity, equal_error, people_pairs
from tests.metric.counterfactuals import case_of
from tests.tiny import TinyDataset, TinyLinear


def network():
    """Features are the pixels."""
    return TinyLinear.random(2, (3, 8, 8), dtype=torch.float64)


def test_cosine_of_features():
    case = case_of(flipped=torch.tensor([1.0, 1, 1, 1, 1, 0]))
    found = FeatureSimilarity(network=network()).score(case)["value"]
    one, other = case.batch.image.flatten(1).double(), case.explanation.counterfactual.flatten(1).double()
    expected = (one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)
    torch.testing.assert_close(found[:5], expected[:5], atol=1e-6, rtol=0)
    assert found[5].isnan()


def test_verification_at_a_threshold():
    case = case_of(reference={"threshold": torch.tensor(0.75)})
    found = FVA(network=network()).score(case)
    assert torch.equal(found["value"], (found["cosine"] > 0.75).double())
    assert FVA(network=network(), threshold=0.5).fit(None, None, None)["threshold"] == 0.5


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
