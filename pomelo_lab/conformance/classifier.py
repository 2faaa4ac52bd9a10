"""What every classifier does."""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.conformance import network
from pomelo_lab.conformance.compare import CLOSE, ensure_same, untouched
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import Broken, NotAsked, Trial, ensure


def images_of(trial: Trial) -> Tensor:
    """The job's images."""
    return trial.job.batch(0).image


def answers(trial: Trial) -> Tensor:
    """The probabilities of the job's images, as a black box gives them."""
    return trial.once("answers", lambda: view(trial.component, "black_box", 64).probability(images_of(trial)))


def white_box(trial: Trial) -> NetworkClassifier:
    """The component as a network whose layers can be seen."""
    if not isinstance(trial.component, NetworkClassifier):
        raise NotAsked("it is a black box")
    return trial.component


def gives_probabilities(trial: Trial) -> None:
    """Answers are probabilities [M,K], K being num_classes."""
    made, kind = answers(trial), getattr(trial.component, "output", "softmax")
    ensure(made.shape == (len(images_of(trial)), trial.component.num_classes), f"answers are {tuple(made.shape)}")
    ensure(0 <= float(made.min()) and float(made.max()) <= 1 + CLOSE, f"answers from {made.min():g} to {made.max():g}")
    total = float(made.sum(-1).sub(1).abs().max())
    ensure(kind == "sigmoid" or total < 1e-3, f"the classes of an image sum to one but for {total:.2g}")


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """An image is answered alike alone, in any order and any batch size."""
    for rows, batch_size in (([1], 64), ([2, 0, 1], 2)):
        again = view(trial.component, "black_box", batch_size).probability(images_of(trial)[rows])
        ensure_same(answers(trial)[rows], again, f"images {rows}, {batch_size} at once", close=CLOSE)


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images are not changed in place, nor is the global random generator used."""
    with untouched(images=images_of(trial)):
        trial.component.probability(images_of(trial))


def counts_its_queries(trial: Trial) -> None:
    """Each image asked is a query; a black box refuses images with a gradient."""
    black_box = view(trial.component, "black_box", 2)
    black_box.probability(images_of(trial))
    ensure(
        black_box.queries == len(images_of(trial)), f"asked {len(images_of(trial))} images, counted {black_box.queries}"
    )
    try:
        black_box.probability(images_of(trial).clone().requires_grad_())
    except ValueError:
        return
    raise Broken("a black box answered images that carry a gradient")


def has_a_stable_digest(trial: Trial) -> None:
    """The digest is a text that asking does not change."""
    before = trial.component.digest()
    trial.component.probability(images_of(trial))
    ensure(isinstance(before, str) and before == trial.component.digest(), "after an answer it is another")


def is_differentiable(trial: Trial) -> None:
    """A white box gives logits with finite gradients, which are its answers."""
    images = images_of(trial).clone().requires_grad_()
    logit = white_box(trial).logit(images)
    (gradient,) = torch.autograd.grad(logit.logsumexp(-1).sum(), images)
    ensure(bool(gradient.isfinite().all()), "a gradient is not finite")
    probability = logit.softmax(-1) if trial.component.output == "softmax" else logit.sigmoid()
    ensure_same(answers(trial), probability.detach(), "the probabilities of its logits", close=1e-4)


def has_features_and_layers(trial: Trial) -> None:
    """A white box gives features [M,D] and knows the layers that it names."""
    feature = view(white_box(trial), "white_box", 64).feature(images_of(trial))
    ensure(feature.ndim == 2 and len(feature) == len(images_of(trial)), f"features are {tuple(feature.shape)}")
    for name in (*trial.component.stages, *filter(None, [trial.component.middle])):
        trial.component.layer(name)


RULES = (
    mirrors_the_constructor,
    gives_probabilities,
    does_not_depend_on_the_batch,
    leaves_its_inputs_alone,
    counts_its_queries,
    has_a_stable_digest,
    is_differentiable,
    has_features_and_layers,
    *network.RULES,
)
