"""Claims of a paper, judged on stored scores by a paired bootstrap over images.

The grammar: `pomelo_lab.results.grammar`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pomelo_lab.results.grammar import Pair, pairs
from pomelo_lab.results.report import Claim, Report

RESAMPLES = 2_000
SEED = 20_261
LEVEL = 0.95  # share of the resamples that decides a claim
MIN_IMAGES = 10  # with fewer images the verdict is FEW, even when all resamples agree
MIN_REPEATS = 5  # a set statistic with fewer repeats counts as a single number
HOLDS, FAILS, FEW, MISSING = "holds", "fails", "too few images", "missing rows"
IMAGES, REPEATS, POINT = "images", "repeats", "point"  # what the bootstrap resampled, strongest evidence first

Values = Callable[[str, str], "Sample | None"]


@dataclass(frozen=True)
class Resampled:
    """A statistic that is computed again for each resample of the images, such as a threshold chosen on held-out
    images.

    images: ids in the order of the weights.
    usable: bool [B], the images with finite scores.
    sizes: sizes of consecutive groups of images that are resampled separately (scored and held-out images).
    statistic: weights [R,B], which sum to 1 in each group -> values [R].
    """

    images: tuple[str, ...]
    usable: np.ndarray
    sizes: tuple[int, ...]
    statistic: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sample:
    """The scores of one row: a value per image, or a single number for a set statistic.

    n_nan: number of non-finite values, which are left out.
    repeats: the number under other random choices (seeds of an embedding, of a grid); the number is their mean.
    resampled: computes the number for resampled images.
    """

    value: dict[str, float]
    point: float | None = None
    n_nan: int = 0
    repeats: tuple[float, ...] = ()
    resampled: Resampled | None = None


@dataclass(frozen=True)
class Judged:
    """The verdict on one pair of values.

    support: share of resamples that agree with the claim; None for missing rows (named in `absent`) and single numbers.
    by: what was resampled: "images", "repeats" of a set statistic, or nothing ("point").
    n: number of images, or of repeats.
    n_held: number of held-out images on which each resample chose its threshold.
    """

    pair: Pair
    verdict: str
    support: float | None = None
    n: int = 0
    n_dropped: int = 0
    by: str = IMAGES
    left: float | None = None
    right: float | None = None
    absent: tuple[str, ...] = ()
    n_held: int = 0

    @property
    def point(self) -> bool:
        return self.by == POINT

    @property
    def detail(self) -> str:
        if self.verdict == MISSING:
            return f"{self.pair}: no scores"
        values = f" ({self.left:.4g}, {self.right:.4g})"
        if self.point:
            return f"{self.pair}{values} (point)"
        if self.by == REPEATS:
            return f"{self.pair}{values}: {100 * self.support:.1f} % of resamples of {self.n} repeats"
        dropped = f", {self.n_dropped} without a finite value left out" if self.n_dropped else ""
        held = f", thresholds chosen again on {self.n_held} held-out images" if self.n_held else ""
        return f"{self.pair}{values}: {100 * self.support:.1f} % of resamples, n={self.n}{dropped}{held}"


@dataclass(frozen=True)
class Verdict:
    """A claim with the verdicts of all its pairs."""

    claim: Claim
    pairs: tuple[Judged, ...]

    @property
    def verdict(self) -> str:
        """The verdict on the claim. One contradicting pair refutes it, even when other pairs are missing; all pairs
        are needed to confirm it."""
        present = {p.verdict for p in self.pairs}
        return next(v for v in (FAILS, MISSING, FEW, HOLDS) if v in present)

    @property
    def by(self) -> str:
        """The evidence of the verdict. A claim that holds has the weakest evidence among its pairs; a claim that
        fails has the strongest evidence among its failing pairs."""
        ranks = [(IMAGES, REPEATS, POINT).index(p.by) for p in self.pairs if p.verdict == self.verdict]
        return (IMAGES, REPEATS, POINT)[min(ranks) if self.verdict == FAILS else max(ranks)]

    @property
    def word(self) -> str:
        """The verdict as text: "holds (point)" where single numbers were compared, "holds (repeats)" where only
        repeats were resampled."""
        return self.verdict if self.by == IMAGES or self.verdict in (FEW, MISSING) else f"{self.verdict} ({self.by})"

    @property
    def point(self) -> bool:
        return any(p.point for p in self.pairs)

    @property
    def judged(self) -> tuple[Judged, ...]:
        return tuple(p for p in self.pairs if p.verdict != MISSING)

    @property
    def deciding_pair(self) -> Judged:
        """The deciding pair: the one of least support among those with the claim's verdict and evidence."""
        mine = [p for p in self.pairs if p.verdict == self.verdict and p.by == self.by]
        return min(mine, key=lambda p: -1.0 if p.support is None else p.support)

    @property
    def summary(self) -> str:
        """The reasons for the verdict, in one line of text."""
        if self.verdict == MISSING:
            rows = dict.fromkeys(row for p in self.pairs for row in p.absent)
            counts = {HOLDS: "hold", FEW: "have too few images"}
            judged = [f"{n} {text}" for v, text in counts.items() if (n := sum(p.verdict == v for p in self.pairs))]
            return f"without {', '.join(rows)}" + (
                f"; of {len(self.pairs)} pairs {', '.join(judged)}" if judged else ""
            )
        more = len(self.pairs) - 1
        return self.deciding_pair.detail + (f" (least of {more + 1} pairs)" if more and self.verdict == HOLDS else "")


def judge(claim: Claim, table: Report, values: Values) -> Verdict:
    """Judges a claim by all of its pairwise comparisons."""
    return Verdict(claim, tuple(judge_pair(pair, values) for text in claim.test for pair in pairs(text, table)))


def judge_pair(pair: Pair, values: Values) -> Judged:
    """Judges one comparison by a paired bootstrap over the images that all rows share.

    Set statistics are resampled over their repeats, or compared as two numbers. The comparison holds when at least 95 %
    of 2,000 resamples agree with it, and fails when at most 5 % do (equality agrees with neither < nor >). Otherwise
    the verdict is "too few images", as it is with fewer than 10 images. A set statistic with fewer than 5 repeats is a
    single number.
    """
    samples = {row: values(row, pair.metric) for row in pair.rows}
    absent = tuple(row for row, sample in samples.items() if sample is None)
    if absent:
        return Judged(pair, MISSING, absent=absent)
    if (
        all(s.resampled is not None for s in samples.values())
        and len({s.resampled.images for s in samples.values()}) == 1
    ):
        return by_statistic(pair, samples)
    if any(s.point is not None for s in samples.values()):
        if all(len(s.repeats) >= MIN_REPEATS for s in samples.values()):
            return by_repeats(pair, samples)
        left, right = (side.of(lambda row: centre(samples[row])) for side in (pair.left, pair.right))
        agrees = bool(agreement(np.array([left]), np.array([right]), pair)[0])
        return Judged(pair, HOLDS if agrees else FAILS, by=POINT, left=float(left), right=float(right))
    return by_images(pair, samples)


def by_images(pair: Pair, samples: Mapping[str, Sample]) -> Judged:
    """Compares means over resampled images."""
    present = list(samples.values())
    shared = [i for i in present[0].value if all(i in s.value for s in present)]
    columns = {row: np.array([s.value[i] for i in shared], dtype=float) for row, s in samples.items()}
    finite = np.isfinite(np.stack(list(columns.values()))).all(0)
    n, dropped = int(finite.sum()), max([int((~finite).sum()), *(s.n_nan for s in present)])
    if n == 0:  # the rows share no image with finite scores
        return Judged(pair, MISSING, n_dropped=dropped, absent=pair.rows)
    weights = resamples(n)
    means = {row: weights @ column[finite] for row, column in columns.items()}
    left, right = (float(side.of(lambda row: columns[row][finite].mean())) for side in (pair.left, pair.right))
    return decide(pair, means, n, left=left, right=right, n_dropped=dropped)


def by_statistic(pair: Pair, samples: Mapping[str, Sample]) -> Judged:
    """Compares statistics that are computed again for every resample. Scored and held-out images are resampled
    separately."""
    first = next(iter(samples.values())).resampled
    usable = np.stack([s.resampled.usable for s in samples.values()]).all(0)
    stops = np.cumsum(first.sizes)
    groups = [
        np.flatnonzero(usable[stop - size : stop]) + stop - size for stop, size in zip(stops, first.sizes, strict=True)
    ]
    n, dropped = len(groups[0]), max([int((~usable[: first.sizes[0]]).sum()), *(s.n_nan for s in samples.values())])
    if n == 0:
        return Judged(pair, MISSING, n_dropped=dropped, absent=pair.rows)
    weights = np.zeros((RESAMPLES, len(first.images)))
    for k, group in enumerate(groups):
        if len(group):
            weights[:, group] = resamples(len(group), k)
    draws = {row: s.resampled.statistic(weights) for row, s in samples.items()}
    left, right = (float(side.of(lambda row: centre(samples[row]))) for side in (pair.left, pair.right))
    n_held = sum(map(len, groups[1:]))
    return decide(pair, draws, n, left=left, right=right, n_dropped=dropped, n_held=n_held)


def by_repeats(pair: Pair, samples: Mapping[str, Sample]) -> Judged:
    """Compares means over resampled repeats of set statistics. Repeats of different rows are not paired, so each row
    is resampled separately."""
    draws = {row: resamples(len(s.repeats), k) @ np.array(s.repeats) for k, (row, s) in enumerate(samples.items())}
    left, right = (float(side.of(lambda row: centre(samples[row]))) for side in (pair.left, pair.right))
    judged = decide(pair, draws, MIN_IMAGES, left=left, right=right, by=REPEATS)
    return Judged(**{**vars(judged), "n": min(len(s.repeats) for s in samples.values())})


def decide(pair: Pair, draws: Mapping[str, np.ndarray], n: int, **more: object) -> Judged:
    """Turns the values of all rows for every resample, [R] each, into a verdict."""
    left, right = (np.broadcast_to(side.of(draws.__getitem__), RESAMPLES) for side in (pair.left, pair.right))
    support = float(agreement(left, right, pair).mean())
    verdict = HOLDS if support >= LEVEL else FAILS if support <= 1 - LEVEL else FEW
    return Judged(pair, verdict if n >= MIN_IMAGES else FEW, support, n, **more)


def centre(sample: Sample) -> float:
    """The value of a row: its set statistic, or its mean over images."""
    return (
        sample.point
        if sample.point is not None
        else float(np.nanmean([v if math.isfinite(v) else math.nan for v in sample.value.values()]))
    )


def agreement(left: np.ndarray, right: np.ndarray, pair: Pair) -> np.ndarray:
    """Which pairs of values agree with the operator.

    Differences below rounding error count as equal. NaN agrees with nothing.
    """
    noise = 1e-12 * np.maximum(np.abs(left), np.abs(right))
    slack = pair.within * np.abs(right) + noise
    if pair.op == "~":
        return np.abs(left - right) <= slack
    if pair.op in ("<~", ">~"):
        return (left - right if pair.op == "<~" else right - left) <= slack
    return (right - left if pair.op == "<" else left - right) > noise


@functools.lru_cache(maxsize=8)
def resamples(n: int, stream: int = 0) -> np.ndarray:
    """Weights [2000,n] of the images in each resample. They are the same for every pair, so verdicts are reproducible.

    Args: stream: number of the random stream, for groups that are resampled independently.
    """
    seed = SEED if stream == 0 else [SEED, stream]
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
