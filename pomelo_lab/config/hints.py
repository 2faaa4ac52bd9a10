"""Type hints that add ranges to types, and that mark arguments which fingerprints leave out.

The signature of a constructor is the schema of its component. The aliases of this module state rules that a plain type
cannot express. The module imports no heavy library, so that a wrong config is refused within a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """An interval of numbers: `low` and `high` belong to it, `above` and `below` do not. None means no bound."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def problem(self, value: float) -> str | None:
        """The bound that `value` violates ("> 0", ">= 1", "<= 1"). None when it violates none."""
        rules = (
            (self.low, lambda v, b: v >= b, ">="),
            (self.high, lambda v, b: v <= b, "<="),
            (self.above, lambda v, b: v > b, ">"),
            (self.below, lambda v, b: v < b, "<"),
        )
        for bound, holds, sign in rules:
            if bound is not None and not holds(value, bound):
                return f"{sign} {bound:g}"
        return None


@dataclass(frozen=True)
class NotFingerprinted:
    """Marks an argument that changes no result, such as a location or a cache size. Fingerprints leave it out."""


@dataclass(frozen=True)
class OmitDefault:
    """Marks an argument that was added to a component after results of it had been stored.

    Fingerprints leave the argument out while it has its default. The stored results therefore keep their fingerprints.
    """


@dataclass(frozen=True)
class Weights:
    """Marks a path of weights, or of other files that determine a result. Fingerprints contain the digest of the file
    or of all files of the folder instead of its path."""


Count = Annotated[int, Range(low=1)]
Natural = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(low=0)]
Fraction = Annotated[float, Range(low=0, high=1)]
LocalPath = Annotated[str, NotFingerprinted()]
OptionalPath = Annotated[str | None, NotFingerprinted()]
WeightsPath = Annotated[str | None, Weights()]
ResultPath = Annotated[str | None, Weights()]
