"""What every trainable network does: of classifiers and generators alike."""

from __future__ import annotations

import dataclasses

from pomelo_lab.config.signature import locate
from pomelo_lab.conformance.trial import NotAsked, Trial, ensure
from pomelo_lab.network import TrainableNetwork


def network(trial: Trial) -> TrainableNetwork:
    """The component as a trainable network."""
    if not isinstance(trial.component, TrainableNetwork):
        raise NotAsked("it is no trainable network")
    return trial.component


def is_found_by_its_digest(trial: Trial) -> None:
    """The digest follows the weights: the same when built again, not at another seed that decides them."""
    component = network(trial)
    given = {f.name: getattr(component, f.name) for f in dataclasses.fields(component) if f.init}
    for seed, same in ((component.init_seed, True), (component.init_seed + 1, component.weights is not None)):
        if seed != component.init_seed and not component.seeded:
            continue
        again = type(component)(**{**given, "init_seed": seed}).digest() == component.digest()
        ensure(again == same, f"init_seed={seed}: the digest is {'the same' if again else 'another'}")


def names_what_trains_it(trial: Trial) -> None:
    """`training` names a class that exists."""
    if not network(trial).training:
        raise NotAsked("it cannot be trained")
    locate(network(trial).training)


RULES = (is_found_by_its_digest, names_what_trains_it)
