"""One explained output of a multi-label network."""

import re

import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.config.signature import node_problems
from pomelo_lab.training.train import training_of

KINDS = {
    PlainClassifier: {"width": 4, "depth": 2, "hidden": 8},
    ResidualClassifier: {"width": 4},
    TorchvisionClassifier: {},
}
NODE = {"_target_": "pomelo_lab.classifier.plain.PlainClassifier"}
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def both(kind=PlainClassifier, column=3, n=5):
    """The whole network and its one output, with the same weights."""
    more = KINDS[kind]
    return kind(num_classes=n, output="sigmoid", **more), kind(column=column, n_outputs=n, **more)


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_output_is_a_classifier_of_two_classes(kind):
    whole, single = both(kind)
    expected = whole.probability(IMAGES)[:, 3]
    assert single.num_classes == 2 and whole.num_classes == single.n_logits == 5
    torch.testing.assert_close(single.probability(IMAGES), torch.stack([1 - expected, expected], 1))
    assert torch.equal(single.logit(IMAGES)[:, 1] - single.logit(IMAGES)[:, 0], whole.logit(IMAGES)[:, 3])
    assert torch.equal(single.feature(IMAGES), whole.feature(IMAGES))


def test_log_odds_of_both_classes_are_the_output_and_its_negative():
    whole, single = both()
    white_box, logit = view(single, "white_box", 2), whole.logit(IMAGES)[:, 3]
    for target, expected in ((1, logit), (0, -logit)):
        torch.testing.assert_close(white_box.log_odds(IMAGES, torch.full((3,), target)), expected)


def test_weights_of_the_whole_network_fit(tmp_path):
    whole = PlainClassifier(num_classes=5, output="sigmoid", init_seed=4, **KINDS[PlainClassifier])
    torch.save(whole.network.state_dict(), tmp_path / "w.pth")
    single = PlainClassifier(column=1, n_outputs=5, weights=str(tmp_path / "w.pth"), **KINDS[PlainClassifier])
    torch.testing.assert_close(single.probability(IMAGES)[:, 1], whole.probability(IMAGES)[:, 1])
    with pytest.raises(ValueError, match=r"head.weight is \[5, 8\], expected \[4, 8\]"):
        PlainClassifier(column=1, n_outputs=4, weights=str(tmp_path / "w.pth"), **KINDS[PlainClassifier])


def test_digest_tells_outputs_apart_and_stored_results_stay():
    digests = [classifier.digest() for column in (1, 3) for classifier in both(column=column)]
    assert digests[0] == digests[2] and len(set(digests)) == 3
    assert not {"column", "n_outputs"} & set(canonical({**NODE, "column": None, "n_outputs": None}))
    assert canonical({**NODE, "column": 3})["column"] == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"column": 5, "n_outputs": 5}, r"classifier\.column must be below n_outputs, 5, got 5"),
        ({"column": -1, "n_outputs": 5}, r"classifier\.column must be >= 0, got -1"),
        (
            {"column": 3, "n_outputs": 5, "num_classes": 5},
            r"classifier\.num_classes must be null or 2 with column .*, "
            r"got 5; n_outputs says",
        ),
        (
            {"column": 3, "n_outputs": 5, "output": "sigmoid"},
            r"classifier\.output must be softmax with column .*, got "
            r"'sigmoid'",
        ),
        ({"n_outputs": 5, "num_classes": 5}, r"classifier\.n_outputs goes with column, got 5 without one"),
    ],
)
def test_what_does_not_go_together_is_found_by_the_constructor_and_the_config_check(given, message):
    with pytest.raises(ValueError, match=message):
        PlainClassifier(**given)
    (problem,) = node_problems({**NODE, **given}, "classifier")
    assert re.search(message, problem)


def test_python_users_say_what_the_job_would_fill_in():
    with pytest.raises(ValueError, match="classifier.n_outputs is missing: the job fills it"):
        PlainClassifier(column=3)
    with pytest.raises(ValueError, match="classifier.column=Smiling is for configs"):
        PlainClassifier(column="Smiling", n_outputs=5)


def test_networks_are_trained_whole():
    with pytest.raises(ValueError, match="classifier.column .* train it whole, with output=sigmoid"):
        training_of(both()[1], None, None)
