from dataclasses import replace

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.sampler.black import BlackSampler
from pomelo_lab.sampler.gray import GraySampler
from pomelo_lab.sampler.inpaint import InpaintSampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations, Segments
from tests.tiny import TinyLinear, tiny_batch

SHAPE = (3, 12, 12)
N = 120


def setting():
    """Four images with different segment counts, their perturbations, and a linear classifier."""
    batch = tiny_batch(4, SHAPE)
    parts = [GridSegmenter(n_segments=n).segment(batch.image[:1]) for n in (9, 16, 4, 12)]
    segments = Segments(label=torch.cat([one.label for one in parts]), count=torch.cat([one.count for one in parts]))
    perturbations = BlackSampler().perturb(batch, segments, N, RandomStreams(0))
    return batch, segments, perturbations, TinyLinear.random(3, SHAPE, scale=0.1)


def explain(explainer, batch, segments, perturbations, classifier, batch_size=64):
    box = view(classifier, "black_box", batch_size)
    target = torch.arange(len(batch)) % 3
    return explainer.explain(Case(batch, target, box, RandomStreams(0), segments, perturbations)), box


@pytest.mark.parametrize("representation", ["auto", "distance"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kernel_space": "pixel"},
        {"n_features": 3},
        {"output": "logit"},
        {"distance": "euclidean", "kernel_width": 2.0},
    ],
)
def test_independent_of_batch_size_and_neighbours(representation, more):
    batch, segments, perturbations, classifier = setting()
    explainer = LimeExplainer(n_samples=N, representation=representation, **more)
    together, box = explain(explainer, batch, segments, perturbations, classifier)
    assert box.queries == 4 * N
    small, _ = explain(explainer, batch, segments, perturbations, classifier, batch_size=7)
    torch.testing.assert_close(small.attribution, together.attribution, atol=1e-6, rtol=0)
    target = torch.arange(4) % 3
    for i in range(4):
        box = view(classifier, "black_box", 64)
        alone = explainer.explain(
            Case(
                batch.select([i]),
                target[i : i + 1],
                box,
                RandomStreams(0),
                segments.select([i]),
                perturbations.select([i]),
            )
        )
        torch.testing.assert_close(alone.attribution[0], together.attribution[i], atol=1e-6, rtol=0)
        count = int(segments.count[i])
        torch.testing.assert_close(
            alone.extra["coefficient"][0, :count], together.extra["coefficient"][i, :count], atol=1e-6, rtol=0
        )
        assert (together.extra["coefficient"][i, count:] == 0).all() and together.extra["n_segments"][i] == count


def test_with_an_in_painter_that_returns_gray_it_is_gray_lime():
    """LIME-G differs from LIME in the filler alone (Agarwal & Nguyen, section 3.2)."""

    class GrayInpainter(Inpainter):
        def inpaint(self, image, keep):
            return torch.full_like(image, 0.5)

    batch, segments, _, classifier = setting()
    inpaint = InpaintSampler(generator=GrayInpainter(channels=3, size_px=12, width=8, dilations=[1]))
    explanation, expected = (
        explain(
            LimeExplainer(n_samples=N),
            batch,
            segments,
            sampler.perturb(batch, segments, N, RandomStreams(0)),
            classifier,
        )[0]
        for sampler in (inpaint, GraySampler())
    )
    torch.testing.assert_close(explanation.attribution, expected.attribution, atol=1e-6, rtol=0)
    assert explanation.attribution.abs().max() > 0.01


def test_known_probabilities_save_the_queries():
    batch, segments, perturbations, classifier = setting()
    asked, _ = explain(LimeExplainer(n_samples=N), batch, segments, perturbations, classifier)
    known = replace(perturbations, probability=view(classifier, "black_box", 64).probability(perturbations.image))
    explanation, box = explain(LimeExplainer(n_samples=N), batch, segments, known, classifier)
    assert box.queries == 0 and torch.equal(explanation.attribution, asked.attribution)


def test_attribution_is_the_coefficient_of_the_pixel():
    batch, segments, perturbations, classifier = setting()
    explanation, _ = explain(LimeExplainer(n_samples=N), batch, segments, perturbations, classifier)
    assert explanation.attribution.shape == (4, 12, 12) and explanation.attribution.dtype == torch.float32
    for i in range(4):
        assert torch.equal(explanation.attribution[i], explanation.extra["coefficient"][i][segments.label[i]])
    assert all(
        explanation.extra[name].shape == (4,) for name in ("intercept", "score", "local_prediction", "condition")
    )


def test_logit_of_a_linear_network_is_fitted_exactly():
    """Two classes: the log-odds are linear in what was kept, so least squares finds every segment's share."""
    batch, segments, perturbations, _ = setting()
    classifier = TinyLinear.random(2, SHAPE, scale=0.02)
    box = view(classifier, "black_box", 64)
    target = torch.ones(4, dtype=torch.long)
    explainer = LimeExplainer(n_samples=N, alpha=0.0, output="logit")
    explanation = explainer.explain(Case(batch, target, box, RandomStreams(0), segments, perturbations))
    weight = (classifier.head.weight[1] - classifier.head.weight[0]).detach().reshape(SHAPE)
    share = (batch.image * weight).sum(1)
    for i in range(4):
        for s in range(int(segments.count[i])):
            torch.testing.assert_close(
                explanation.extra["coefficient"][i, s], share[i][segments.label[i] == s].sum(), atol=2e-4, rtol=0
            )
    assert (explanation.extra["score"] > 1 - 1e-6).all()


def test_full_input_perturbations_use_eq_1():
    batch, segments, perturbations, classifier = setting()
    full = Perturbations(image=perturbations.image)
    explanation, _ = explain(LimeExplainer(n_samples=N), batch, segments, full, classifier)
    asked, _ = explain(
        LimeExplainer(n_samples=N, representation="distance"), batch, segments, perturbations, classifier
    )
    assert torch.equal(explanation.attribution, asked.attribution)
    with pytest.raises(ValueError, match="explainer.representation must be 'auto' or 'distance'"):
        explain(LimeExplainer(n_samples=N, representation="binary"), batch, segments, full, classifier)


def test_uses_the_first_perturbations_and_refuses_too_few():
    batch, segments, perturbations, classifier = setting()
    first = replace(perturbations, image=perturbations.image[:, :50], keep_mask=perturbations.keep_mask[:, :50])
    a, _ = explain(LimeExplainer(n_samples=50), batch, segments, perturbations, classifier)
    b, _ = explain(LimeExplainer(n_samples=50), batch, segments, first, classifier)
    torch.testing.assert_close(a.attribution, b.attribution, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="explainer.n_samples must be <= 50"):
        explain(LimeExplainer(n_samples=51), batch, segments, first, classifier)
    with pytest.raises(ValueError, match="needs segments and perturbations"):
        explain(LimeExplainer(n_samples=5), batch, None, first, classifier)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="explainer.n_samples must be >= 1.*explainer.kernel_width must be > 0"):
        LimeExplainer(n_samples=0, kernel_width=0.0)
