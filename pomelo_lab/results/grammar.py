"""The language in which claims are written, and the elementary comparisons that a claim stands for.

A test is `metric: side OP side [OP side ...] [within share]`.
OP:    `<` `>`; `~` about equal; `<~` `>~` not worse than by the share: `a >~ b within 0.05` is a >= b - 0.05 |b|.
side:  a comma-separated list of values, each of which is compared with each of the other side.
value: `row`, a number, `number * row`, or sums and differences of these: `a - b > 3 * c - 3 * d`.
A value of a config key that has blanks stands in quotes: `gcd@"Lung Opacity"`.
`metric[part]` picks one entry of a vector-valued metric. `row@value` is one point of a table that runs across a config
key; without @ the comparison is made at every value. `others` is every method of the paper that the test does not name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.describe import did_you_mean

if TYPE_CHECKING:
    from pomelo_lab.results.report import Report

NUMBER = r"\d*\.?\d+(?:[eE][+-]?\d+)?"
ROW = r"[A-Za-z_][\w.]*(?:@(?:\"[^\"]*\"|[\w.]+))*"
TERM = re.compile(rf"\s*([+-]?)\s*(?:(?:({NUMBER})\s*\*\s*)?({ROW})|({NUMBER}))\s*")
OPERATORS = r"\s*(<~|>~|[<>~])\s*"


@dataclass(frozen=True)
class Term:
    """`factor * row`, or a constant when row is None."""

    row: str | None
    factor: float = 1.0

    def __str__(self) -> str:
        size = abs(self.factor)
        return f"{size:g}" if self.row is None else self.row if size == 1 else f"{size:g} * {self.row}"


@dataclass(frozen=True)
class Value:
    """A sum of terms."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        first, *rest = self.terms
        return (
            ("-" if first.factor < 0 else "")
            + str(first)
            + "".join(f" {'-' if t.factor < 0 else '+'} {t}" for t in rest)
        )

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(t.row for t in self.terms if t.row is not None)

    def of(self, number: Callable[[str], Any]) -> Any:
        """Evaluates the sum for given values of the rows, each a number or an array."""
        return sum(t.factor * (1.0 if t.row is None else number(t.row)) for t in self.terms)


@dataclass(frozen=True)
class Pair:
    """One pairwise comparison.

    within: the tolerance of `~`, `<~` and `>~`, as a share of the right-hand side.
    """

    metric: str
    left: Value
    op: str
    right: Value
    within: float = 0.0

    def __str__(self) -> str:
        tail = f" within {100 * self.within:g} %" if "~" in self.op else ""
        return f"{self.metric}: {self.left} {self.op} {self.right}{tail}"

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.rows, *self.right.rows)))


def pairs(text: str, table: Report) -> list[Pair]:
    """All pairwise comparisons that a test stands for. Raises: ValueError for a test that does not follow the
    grammar or names no row."""
    # the colon ends the metric's name, but a part may contain another: metric[name:0]
    metric, colon, rest = re.fullmatch(r"([^:\[]*(?:\[[^\]]*\])?)(:?)(.*)", text, re.DOTALL).groups()
    body, share = re.fullmatch(r"(.*?)(?:\s+within\s+([\d.]+))?", rest.strip(), re.DOTALL).groups()
    parts = re.split(OPERATORS, body)
    if not colon or len(parts) < 3 or (any("~" in op for op in parts[1::2]) != (share is not None)):
        raise ValueError(f"claim {text!r}: expected `metric: row, row < row` (with `within share` for ~, <~ and >~)")
    named = {name.replace('"', "") for name in re.findall(ROW, body)}
    sides = [[parse_value(word, text) for word in side.split(",")] for side in parts[::2]]
    points = ["".join(f"@{v}" for v in point) for point in itertools.product(*table.across.values())]
    out = []
    for (left, right), op in zip(itertools.pairwise(sides), parts[1::2], strict=True):
        for point in points:
            ours, theirs = (
                [value for raw in side for value in expand(raw, point, named, table, text)] for side in (left, right)
            )
            out += [Pair(metric.strip(), a, op, b, float(share or 0)) for a in ours for b in theirs]
    if not all(pair.rows for pair in out):
        raise ValueError(f"claim {text!r}: compares numbers with numbers, expected a row")
    return list(dict.fromkeys(out))


def parse_value(word: str, text: str) -> Value:
    """Parses a sum of rows, multiples of rows, and numbers."""
    terms: list[Term] = []
    position = 0
    while position < len(word) or not terms:
        match = TERM.match(word, position)
        if not match or (terms and not match[1]):
            raise ValueError(
                f"claim {text!r}: {word.strip()!r} is neither a row, a number, a number times a row, nor a sum of these"
            )
        sign = -1.0 if match[1] == "-" else 1.0
        terms.append(
            Term(None, sign * float(match[4]))
            if match[4]
            else Term(match[3].replace('"', ""), sign * float(match[2] or 1))
        )
        position = match.end()
    return Value(tuple(terms))


def expand(value: Value, point: str, named: set[str], table: Report, text: str) -> list[Value]:
    """Expands a value at one point of the table: `others` becomes each of the remaining rows, and rows get their
    @value."""
    return [Value(terms) for terms in itertools.product(*(choices(t, point, named, table, text) for t in value.terms))]


def choices(term: Term, point: str, named: set[str], table: Report, text: str) -> Sequence[Term]:
    """The rows that one term stands for. Raises: ValueError for a row that the table does not have."""
    if term.row is None:
        return [term]
    if term.row == "others":
        keys = [key for key in table.printed if key.endswith(point) and named.isdisjoint((key, key.partition("@")[0]))]
    else:
        keys = [term.row if "@" in term.row else term.row + point]
    for key in keys:
        if table.row(key) is None:
            keys = [row.key for row in table.rows]
            near = did_you_mean(key, keys)
            raise ValueError(f"claim {text!r}: no row {key!r} in {table.id}{near}; rows are {', '.join(keys)}")
    return [Term(key, term.factor) for key in keys]
