"""Type hints that say more than a type: ranges, choices, and which arguments are left out of fingerprints.

The constructor's signature is the schema of a component; these aliases let it state what the type cannot.
They cost nothing at import, so that a wrong config is refused before any library is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Closed interval by default; `above`/`below` are the open ends."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def problem(self, value: float) -> str | None:
        """None when `value` lies inside, else the rule it broke ("> 0", ">= 1", "<= 1")."""
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
    """Marks an argument that says where something lies, not what it is: left out of fingerprints."""


@dataclass(frozen=True)
class OmitDefault:
    """Marks an argument that a component got after results of it were stored: at its default it is left out of
    fingerprints, so that they stay."""


@dataclass(frozen=True)
class Weights:
    """Marks a weights path: fingerprints hold the digest of the file, not its path."""


Count = Annotated[int, Range(low=1)]
Natural = Annotated[int, Range(low=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(low=0)]
Fraction = Annotated[float, Range(low=0, high=1)]
LocalPath = Annotated[str, NotFingerprinted()]
OptionalPath = Annotated[str | None, NotFingerprinted()]
WeightsPath = Annotated[str | None, Weights()]
