"""Losses and scores of the classifier training."""

import torch
import torch.nn.functional as F

from pomelo_lab.classifier.plain import PlainClassifier
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.train import training_of
from pomelo_lab.types import Batch

OFF = {"flip": 0.0, "shift_px": 0, "brightness": 0.0}


class Names:
    class_names = ("a", "b", "c")
    attribute_names = ("p", "q")


def batch(label):
    n = len(label)
    attributes = torch.tensor([[True, False]] * n)
    return Batch(
        torch.rand(n, 3, 16, 16), torch.tensor(label), tuple("xyz"[:n]), torch.arange(n), attributes=attributes
    )


def training(output, num_classes):
    classifier = PlainClassifier(num_classes=num_classes, width=4, depth=2, hidden=8, output=output)
    return classifier, training_of(classifier, Recipe(**OFF), Names)


def test_unknown_labels_do_not_count():
    classifier, module = training("softmax", 3)
    given = batch([0, -1, 2])
    logits = classifier.logit(given.image)
    torch.testing.assert_close(
        module.loss(module.training_batch(given, torch.Generator())),
        F.cross_entropy(logits[[0, 2]], torch.tensor([0, 2])),
    )
    report = module.summary({"answer": torch.tensor([0, 1, 1]), "truth": given.label})
    assert report == {"accuracy": 0.5, "accuracy_per_class": {"a": 1.0, "c": 0.0}, "n": 2}


def test_attributes_are_independent_questions():
    classifier, module = training("sigmoid", 2)
    given = batch([0, 1])
    expected = F.binary_cross_entropy(classifier.probability(given.image), given.attributes.float())
    torch.testing.assert_close(module.loss(module.training_batch(given, torch.Generator())), expected)
    truth = torch.tensor([[True, False], [False, False]])
    report = module.summary({"answer": torch.tensor([[True, False], [True, False]]), "truth": truth})
    assert report["accuracy"] == 0.75 and report["accuracy_per_attribute"]["p"] == {
        "accuracy": 0.5,
        "rate": 0.5,
        "balanced_accuracy": 0.5,
    }
    assert report["accuracy_per_attribute"]["q"]["balanced_accuracy"] is None
