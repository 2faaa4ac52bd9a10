"""Costs: what a component asks of networks and stores, for the plan of a dry run, and durations as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a component declares that it will ask and store; costs add up, lose parts and can be multiplied.

    queries: images that the classifier is asked about. evaluations: images that a generator's network is asked about.
    bytes: images and maps that are stored. at_most: whether these are upper limits, because images may end early.
    """

    queries: int = 0
    evaluations: int = 0
    bytes: int = 0
    at_most: bool = False

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.queries + other.queries,
            self.evaluations + other.evaluations,
            self.bytes + other.bytes,
            self.at_most or other.at_most,
        )

    def __sub__(self, part: Cost) -> Cost:
        """The cost without a part of it."""
        return Cost(
            self.queries - part.queries, self.evaluations - part.evaluations, self.bytes - part.bytes, self.at_most
        )

    def __mul__(self, n: int) -> Cost:
        return Cost(n * self.queries, n * self.evaluations, n * self.bytes, self.at_most)

    __rmul__ = __mul__


def format_duration(seconds: float) -> str:
    """A duration as text, in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
