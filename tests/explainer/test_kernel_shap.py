import itertools
import math

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.kernel_shap import KernelShapExplainer
from pomelo_lab.types import Segments
from tests.explainer.gradients import rectified
from tests.explainer.removing import TARGET, black
from tests.tiny import TinyLinear, tiny_batch

QUARTERS = (torch.arange(8)[:, None] // 4 * 2 + torch.arange(8) // 4).expand(3, 8, 8)
SEGMENTS = Segments(QUARTERS.contiguous(), torch.full((3,), 4))


def explained(batch, classifier, target=TARGET, segments=SEGMENTS, **options):
    explainer = KernelShapExplainer(**{"sampler": black(), "n_coalitions": 400, **options})
    return explainer.explain(Case(batch, target, view(classifier, "white_box", 64), RandomStreams(0), segments))


def shapley(value, n=4):
    """Exact Shapley values of value(set of players)."""
    values = []
    for player in range(n):
        others = [p for p in range(n) if p != player]
        total = 0.0
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - 1 - size) / math.factorial(n)
            total += weight * sum(
                value({*chosen, player}) - value({*chosen}) for chosen in itertools.combinations(others, size)
            )
        values.append(total)
    return values


def test_shapley_values_of_a_network_with_interactions():
    batch, classifier = tiny_batch(3), rectified()
    explanation = explained(batch, classifier, n_coalitions=3000)

    def value(kept):
        keep = torch.isin(QUARTERS[0], torch.tensor(sorted(kept), dtype=torch.long))
        return float(classifier.probability((batch.image[0] * keep)[None])[0, TARGET[0]])

    exact = torch.tensor(shapley(value))
    at = explanation.attribution[0, [0, 0, 7, 7], [0, 7, 0, 7]]
    assert float((at - exact).abs().max()) < 0.05 * float(exact.abs().max()) + 1e-3
    torch.testing.assert_close(explanation.extra["total"], explanation.extra["difference"], atol=1e-4, rtol=0)


def test_additive_answers_are_exact():
    batch, classifier = tiny_batch(3), TinyLinear.random(3, (3, 8, 8), dtype=torch.float64)
    explanation = explained(batch, classifier, answer="logit", n_coalitions=100)
    expected = (classifier.weight[TARGET][0] * batch.image[0])[:, :4, 4:].sum()
    torch.testing.assert_close(explanation.attribution[0, 0, 7].double(), expected, atol=1e-3, rtol=0)


def test_each_image_alone_and_the_global_generator_untouched():
    batch, classifier = tiny_batch(3), rectified()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    whole = explained(batch, classifier)
    assert torch.equal(torch.get_rng_state(), before)
    for i in range(3):
        alone = explained(batch.select([i]), classifier, TARGET[[i]], SEGMENTS.select([i]))
        torch.testing.assert_close(alone.attribution[0], whole.attribution[i], atol=1e-6, rtol=0)
