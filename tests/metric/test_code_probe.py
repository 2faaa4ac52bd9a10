"""What a code tells of a classifier's answers, where it is known: everything, nothing, one of three classes."""

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.code_probe import CodeProbe
from tests.explainer.linear import BASIS, GENERATOR, SHAPE
from tests.tiny import TinyLinear, tiny_batch

N = 600
CODES = torch.randn(N, len(BASIS), generator=torch.Generator().manual_seed(0))


class Coded:
    """Images that are nothing but their codes, so that the code of the tiny autoencoder is known."""

    def order(self):
        return torch.arange(N)

    def unmasked(self, rows):
        batch = tiny_batch(len(rows))
        batch.image[:] = (CODES[list(rows)] @ BASIS).reshape(-1, *SHAPE)
        return batch


def scored(classifier, **options):
    probe, box = CodeProbe(generator=GENERATOR, n_reference=400, **options), view(classifier, "black_box", 64)
    reference = probe.fit(Coded(), box, RandomStreams(0))
    rows = probe.score(Case(Coded().unmasked(range(400, N)), classifier=box, reference=reference))
    return probe.summarize(rows, reference), reference


def reading(weights):
    """A classifier whose logits are linear in the code: weights [K,CODE]."""
    return TinyLinear(weight=(weights @ torch.linalg.pinv(BASIS).T).reshape(-1, *SHAPE).double())


@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_is_in_the_code_is_told(n_classes):
    weights = torch.randn(n_classes, len(BASIS), generator=torch.Generator().manual_seed(1))
    scores, reference = scored(reading(weights), strength=1e3)
    assert scores.mean > 0.95 > scores.details["chance"] and scores.n == 200
    told = CODES[400:].double() @ reference["weight"].T + reference["bias"]
    direct = CODES[400:] @ weights.T
    assert float((told.argmax(1) == direct.argmax(1)).double().mean()) == scores.mean


def test_what_is_not_in_the_code_is_guessed():
    noise = torch.linalg.qr(torch.randn(BASIS.shape[1], BASIS.shape[1], generator=torch.Generator().manual_seed(2)))[0][
        0
    ]
    beside = noise - torch.linalg.pinv(BASIS) @ (BASIS @ noise)  # a pattern that no code has
    outside = TinyLinear(weight=torch.stack([beside, -beside]).reshape(2, *SHAPE).double())

    class Noisy(Coded):
        def unmasked(self, rows):
            batch = super().unmasked(rows)
            sign = (torch.tensor(list(rows)) * 7919 % 13 < 6).float() * 2 - 1
            batch.image[:] += (sign[:, None] * beside).reshape(-1, *SHAPE)
            return batch

    probe, box = CodeProbe(generator=GENERATOR, n_reference=400), view(outside, "black_box", 64)
    reference = probe.fit(Noisy(), box, RandomStreams(0))
    rows = probe.score(Case(Noisy().unmasked(range(400, N)), classifier=box, reference=reference))
    assert abs(float(rows["value"].mean()) - float(reference["chance"])) < 0.1


def test_a_classifier_of_one_mind():
    always = TinyLinear(weight=torch.zeros(3, *SHAPE).double(), bias=torch.tensor([0.0, 5.0, 0.0]).double())
    scores, _ = scored(always)
    assert scores.mean == 1.0 and scores.details["chance"] == 1.0
