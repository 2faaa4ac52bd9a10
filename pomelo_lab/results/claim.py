"""Claims of a paper, judged on stored scores by a paired bootstrap over images.

Grammar of a test: `metric: side OP side [OP side ...] [within share]`, OP one of < > ~, a side a comma-separated list of terms,
a term `[number *] row` or a number. `metric[part]` picks one entry of a vector-valued metric. `row@value` is one point of a
table that runs across a config key; without @ the comparison is made at every value. `others` is every method of the paper that
the test does not name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pomelo_lab.results.published import Claim, Published

RESAMPLES = 2_000
SEED = 20_261
LEVEL = 0.95  # share of resamples that decides
MIN_IMAGES = 10  # below, even an unanimous bootstrap says little
HOLDS, FAILS, FEW, MISSING = "holds", "fails", "too few images", "missing rows"

Values = Callable[[str, str], "Sample | None"]


@dataclass(frozen=True)
class Sample:
    """Scores of one row: a value per image, or (set statistics) one point. n_nan: non-finite values left out."""

    value: dict[str, float]
    point: float | None = None
    n_nan: int = 0


@dataclass(frozen=True)
class Term:
    """`factor * row`, or a constant when row is None."""

    row: str | None
    factor: float = 1.0

    def __str__(self) -> str:
        return f"{self.factor:g}" if self.row is None else self.row if self.factor == 1 else f"{self.factor:g} * {self.row}"


@dataclass(frozen=True)
class Pair:
    """One elementary comparison."""

    metric: str
    left: Term
    op: str
    right: Term
    within: float = 0.0

    def __str__(self) -> str:
        tail = f" within {100 * self.within:g} %" if self.op == "~" else ""
        return f"{self.metric}: {self.left} {self.op} {self.right}{tail}"


@dataclass(frozen=True)
class Judged:
    """A pair with its verdict. support: share of resamples that agree; None for missing rows (named in `absent`) and points."""

    pair: Pair
    verdict: str
    support: float | None = None
    n: int = 0
    n_dropped: int = 0
    point: bool = False
    left: float | None = None
    right: float | None = None
    absent: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        if self.verdict == MISSING:
            return f"{self.pair}: no scores"
        values = f" ({self.left:.4g}, {self.right:.4g})"
        if self.point:
            return f"{self.pair}{values} (point)"
        dropped = f", {self.n_dropped} without a finite value left out" if self.n_dropped else ""
        return f"{self.pair}{values}: {100 * self.support:.1f} % of resamples, n={self.n}{dropped}"


@dataclass(frozen=True)
class Verdict:
    """A claim with the verdicts of all its pairs."""

    claim: Claim
    pairs: tuple[Judged, ...]

    @property
    def verdict(self) -> str:
        """One opposite pair refutes a claim whatever is missing; all pairs are needed to uphold it."""
        found = {p.verdict for p in self.pairs}
        return next(v for v in (FAILS, MISSING, FEW, HOLDS) if v in found)

    @property
    def point(self) -> bool:
        return any(p.point for p in self.pairs)

    @property
    def judged(self) -> tuple[Judged, ...]:
        return tuple(p for p in self.pairs if p.verdict != MISSING)

    @property
    def deciding(self) -> Judged:
        """The pair that decided: the least supported one among those with the claim's verdict."""
        mine = [p for p in self.pairs if p.verdict == self.verdict]
        return min(mine, key=lambda p: -1.0 if p.support is None else p.support)

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.verdict == MISSING:
            rows = dict.fromkeys(row for p in self.pairs for row in p.absent)
            counts = {HOLDS: "hold", FEW: "have too few images"}
            judged = [f"{n} {text}" for v, text in counts.items() if (n := sum(p.verdict == v for p in self.pairs))]
            return f"without {', '.join(rows)}" + (f"; of {len(self.pairs)} pairs {', '.join(judged)}" if judged else "")
        more = len(self.pairs) - 1
        return self.deciding.detail + (f" (least of {more + 1} pairs)" if more and self.verdict == HOLDS else "")


def judge(claim: Claim, table: Published, values: Values) -> Verdict:
    """The verdict on one claim."""
    return Verdict(claim, tuple(judge_pair(pair, values) for text in claim.test for pair in pairs(text, table)))


def judge_pair(pair: Pair, values: Values) -> Judged:
    """Paired bootstrap over the images that both rows have; a comparison of two numbers for set statistics.

    holds when at least 95 % of 2,000 resamples of the images agree with the claim, fails when at most 5 % do (equality agrees with
    neither < nor >), else too few images; so does a sample of fewer than 10 images.
    """
    samples = [values(t.row, pair.metric) if t.row is not None else None for t in (pair.left, pair.right)]
    absent = tuple(t.row for s, t in zip(samples, (pair.left, pair.right), strict=True) if s is None and t.row is not None)
    if absent:
        return Judged(pair, MISSING, absent=absent)
    present = [s for s in samples if s is not None]
    if any(s.point is not None for s in present):
        left, right = (
            t.factor if s is None else t.factor * (s.point if s.point is not None else np.nanmean(list(s.value.values())))
            for s, t in zip(samples, (pair.left, pair.right), strict=True)
        )
        agrees = bool(agreement(np.array([left]), np.array([right]), pair)[0])
        return Judged(pair, HOLDS if agrees else FAILS, point=True, left=float(left), right=float(right))
    shared = [i for i in present[0].value if all(i in s.value for s in present)]
    columns = [
        np.full(len(shared), t.factor) if s is None else t.factor * np.array([s.value[i] for i in shared], dtype=float)
        for s, t in zip(samples, (pair.left, pair.right), strict=True)
    ]
    finite = np.isfinite(columns[0]) & np.isfinite(columns[1])
    left, right = (c[finite] for c in columns)
    n, dropped = int(finite.sum()), max([int((~finite).sum()), *(s.n_nan for s in present)])
    if n == 0:  # no image has both scores
        return Judged(pair, MISSING, n_dropped=dropped, absent=tuple(t.row for t in (pair.left, pair.right) if t.row))
    weights = resamples(n)
    support = float(agreement(weights @ left, weights @ right, pair).mean())
    verdict = HOLDS if support >= LEVEL else FAILS if support <= 1 - LEVEL else FEW
    return Judged(pair, verdict if n >= MIN_IMAGES else FEW, support, n, dropped, left=float(left.mean()), right=float(right.mean()))


def agreement(left: np.ndarray, right: np.ndarray, pair: Pair) -> np.ndarray:
    """Whether pairs of means agree with the operator. Differences below rounding count as equal."""
    if pair.op == "~":
        return np.abs(left - right) <= pair.within * np.abs(right)
    noise = 1e-12 * np.maximum(np.abs(left), np.abs(right))
    return (right - left if pair.op == "<" else left - right) > noise


@functools.lru_cache(maxsize=4)
def resamples(n: int) -> np.ndarray:
    """Weights [2000, n] of the images in each resample; the same for every pair, so that verdicts are reproducible."""
    return np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def pairs(text: str, table: Published) -> list[Pair]:
    """All elementary comparisons of a test. Raises ValueError for a test that is not in the grammar or names no row."""
    metric, colon, rest = text.partition(":")
    found = re.fullmatch(r"(.*?)(?:\s+within\s+([\d.]+))?", rest.strip())
    parts = re.split(r"\s*([<>~])\s*", found[1])
    if not colon or len(parts) < 3 or (("~" in parts) != (found[2] is not None)):
        raise ValueError(f"claim {text!r}: expected `metric: row, row < row` (with `within share` for ~)")
    named = set(re.findall(r"[A-Za-z_][\w@.]*", found[1]))
    sides = [[term(word.strip(), text) for word in side.split(",")] for side in parts[::2]]
    points = [f"@{v}" for values in table.across.values() for v in values] or [""]
    out = []
    for left, op, right in zip(sides, parts[1::2], sides[1:], strict=False):
        for point in points:
            here = [(a, b) for a in expanded(left, point, named, table, text) for b in expanded(right, point, named, table, text)]
            out += [Pair(metric.strip(), a, op, b, float(found[2] or 0)) for a, b in here]
    return list(dict.fromkeys(out))


def term(word: str, text: str) -> Term:
    """`row`, `number * row` or `number`."""
    found = re.fullmatch(r"(?:([\d.]+)\s*\*\s*)?([A-Za-z_][\w@.]*)|([\d.]+)", word)
    if not found:
        raise ValueError(f"claim {text!r}: {word!r} is neither a row, a number times a row, nor a number")
    return Term(None, float(found[3])) if found[3] else Term(found[2], float(found[1] or 1))


def expanded(side: Sequence[Term], point: str, named: set[str], table: Published, text: str) -> list[Term]:
    """The terms of a side at one point: `others` becomes rows, rows get their @value."""
    out = []
    for one in side:
        if one.row is None:
            out.append(one)
            continue
        if one.row == "others":
            chosen = [key for key in table.printed if key.endswith(point) and key.partition("@")[0] not in named]
        else:
            chosen = [one.row if "@" in one.row else one.row + point]
        for key in chosen:
            if table.row(key) is None:
                raise ValueError(f"claim {text!r}: no row {key!r} in {table.id}; rows are {', '.join(r.key for r in table.rows)}")
            out.append(Term(key, one.factor))
    return out
