"""Cases with counterfactuals for tests of their metrics."""

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation
from tests.tiny import TinyLinear, batch_of, tiny_image


def case_of(n=6, counterfactual=None, flipped=None, classifier=None, label=None, image=None):
    """Images in 8 bits, a binary linear classifier, counterfactuals that are other images."""
    image = (tiny_image(n) * 255).round() / 255 if image is None else image
    n = len(image)
    classifier = classifier or TinyLinear.random(2, image.shape[1:], scale=0.3, dtype=torch.float64)
    box = view(classifier, "black_box", 64)
    target = box.probability(image).argmax(1)
    other = (tiny_image(n, image.shape[1:], seed=1) * 255).round() / 255 if counterfactual is None else counterfactual
    extra = {"goal": (1 - target).float(), "flipped": torch.ones(n) if flipped is None else flipped}
    batch = batch_of(image, label=target.clone() if label is None else label)
    explanation = Explanation(target=target, counterfactual=other, extra=extra)
    return Case(batch=batch, target=target, explanation=explanation, classifier=box, streams=RandomStreams(0))
