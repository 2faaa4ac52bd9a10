"""Structural causal models of discrete causes: drawing, intervening, and exact probabilities.

Every cause is drawn from one uniform number given its parents, so the exogenous noise of a person is explicit: the
same noise with another parent is the counterfactual person. A continuous cause is piecewise uniform (bins with
rates), so that all attribute rates and correlations follow exactly by enumeration.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pomelo_lab.config.signature import did_you_mean

ANY = "*"  # in a rates key: every state of that parent
NOISE = "noise"  # key of the exogenous uniforms [B, number of causes] in a factors dict


@dataclass(frozen=True)
class Cause:
    """One cause: its states, or the bins between `edges` of a continuous value, with their rates for each
    combination of the parents' states."""

    name: str
    group: str
    states: tuple[str, ...]
    rates: Mapping[tuple[str, ...], tuple[float, ...]]
    parents: tuple[str, ...] = ()
    edges: tuple[float, ...] = field(default=())

    @property
    def continuous(self) -> bool:
        return bool(self.edges)

    def values(self, n: int = 8) -> Tensor:
        """All states (int64), or n values spread over the range of a continuous cause (float32)."""
        if not self.continuous:
            return torch.arange(len(self.states))
        low, high = self.edges[0], self.edges[-1]
        return torch.tensor([low + (high - low) * (i + 0.5) / n for i in range(n)], dtype=torch.float32)


def choice(name: str, group: str, states: Sequence[str], rates, parents: Sequence[str] = ()) -> Cause:
    """Makes a categorical cause. `rates` is one tuple, or a dict from parent states to tuples."""
    return Cause(
        name, group, tuple(states), rates if isinstance(rates, Mapping) else {(): tuple(rates)}, tuple(parents)
    )


def level(name: str, group: str, bins: Mapping[str, float], rates, parents: Sequence[str] = ()) -> Cause:
    """Makes a continuous cause that starts at 0. `bins` maps the name of each bin to its upper edge."""
    edges = (0.0, *bins.values())
    return Cause(
        name, group, tuple(bins), rates if isinstance(rates, Mapping) else {(): tuple(rates)}, tuple(parents), edges
    )


def uniform_causes(group: str, low: float, high: float, *names: str) -> tuple[Cause, ...]:
    """Makes uniform causes without parents."""
    return tuple(Cause(name, group, ("any",), {(): (1.0,)}, (), (low, high)) for name in names)


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 (wrapping), elementwise."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def uniforms(seed: int, stream: str, index: Tensor, names: Iterable[str]) -> Tensor:
    """Counter-based noise: float32 [B,F] in [0,1) on a 24-bit grid. It depends only on (seed, stream, index, name)."""
    step = -0x61C8864680B583EB  # the golden-ratio increment of splitmix64
    key = mix(mix(torch.tensor(seed) + step) + zlib.crc32(stream.encode()) * 2 + 1)
    key = mix(key.to(index.device) + (index.long() + 1) * step)
    salt = torch.tensor([zlib.crc32(name.encode()) for name in names], device=index.device)
    bits = mix(mix(key[:, None] ^ (salt << 16)) + step)
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


class CausalModel:
    """Draws people from a list of causes, intervenes on the causes, and enumerates their probabilities.

    Args:
        causes: the causes, parents before their children.
        events: attribute -> the states that it requires, all of them.
    Shapes: factors are a dict name -> [B] (int64 state, or float32 value of a continuous cause), plus `noise` [B,F].
    Random: none; every draw is a function of the given uniforms.
    """

    def __init__(self, causes: Sequence[Cause], events: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self.events = events
        self.causes = {cause.name: cause for cause in causes}
        self.position = {cause.name: i for i, cause in enumerate(causes)}
        self._tables = {cause.name: self._table(cause) for cause in causes}

    def _table(self, cause: Cause) -> Tensor:
        """Rates, float64 [states of each parent..., states]; the first matching key wins."""
        domains = [self.causes[parent].states for parent in cause.parents]
        rows = []
        for states in itertools.product(*domains):
            key = next((k for k in cause.rates if all(a in (ANY, b) for a, b in zip(k, states, strict=True))), None)
            if key is None or len(cause.rates[key]) != len(cause.states) or abs(sum(cause.rates[key]) - 1) > 1e-9:
                raise ValueError(
                    f"rates of {cause.name!r} given {states} must be {len(cause.states)} numbers that sum to 1"
                )
            rows.append(cause.rates[key])
        return torch.tensor(rows, dtype=torch.float64).reshape(*(len(d) for d in domains), len(cause.states))

    def check(self, names: Iterable[str]) -> None:
        """Raises ValueError for names that are not causes."""
        for name in names:
            if name not in self.causes:
                raise ValueError(
                    f"unknown factor {name!r}{did_you_mean(name, self.causes)}; known: {', '.join(self.causes)}"
                )

    def state(self, name: str, factors: Mapping[str, Tensor]) -> Tensor:
        """The state of a cause (the bin of a continuous one): int64 [B]."""
        edges, value = self.causes[name].edges, factors[name]
        if not edges:
            return value
        inner = torch.tensor(edges[1:-1], dtype=value.dtype, device=value.device)
        return (value[..., None] >= inner).sum(-1)

    def value(self, name: str, u: Tensor, factors: Mapping[str, Tensor]) -> Tensor:
        """Draws a cause with the uniforms u [B], given its parents in `factors`: [B]."""
        cause = self.causes[name]
        if len(cause.states) == 1:
            return cause.edges[0] + u * (cause.edges[1] - cause.edges[0])
        row = self._tables[name].to(torch.float32).to(u.device)
        if cause.parents:
            row = row[tuple(self.state(parent, factors) for parent in cause.parents)]
        else:
            row = row.expand(len(u), -1)
        # no scan: same bits everywhere
        upper = torch.stack([sum(row[:, : k + 1].unbind(-1)) for k in range(row.shape[1])], -1)
        state = (u[:, None] >= upper[:, :-1]).sum(-1)
        if not cause.continuous:
            return state
        p = row.gather(1, state[:, None])[:, 0]
        rest = (u - (upper.gather(1, state[:, None])[:, 0] - p)) / p.clamp(min=1e-12)
        edges = torch.tensor(cause.edges, dtype=torch.float32, device=u.device)
        return edges[state] + rest.clamp(0, 1) * (edges[state + 1] - edges[state])

    def draw(self, noise: Tensor) -> dict[str, Tensor]:
        """Draws all causes of B people from their noise [B,F]."""
        factors: dict[str, Tensor] = {NOISE: noise}
        for name, i in self.position.items():
            factors[name] = self.value(name, noise[:, i], factors)
        return factors

    def encode(self, name: str, value: object, like: Tensor) -> Tensor:
        """Converts a given value (state name, number, or tensor [B]) to a factor [B]."""
        cause = self.causes[name]
        if isinstance(value, str):
            if cause.continuous or value not in cause.states:
                expected = (
                    f"a number in [{cause.edges[0]}, {cause.edges[-1]}]"
                    if cause.continuous
                    else f"one of {', '.join(cause.states)}"
                )
                raise ValueError(
                    f"factor {name!r} must be {expected}, got {value!r}{did_you_mean(value, cause.states)}"
                )
            value = cause.states.index(value)
        given = torch.as_tensor(value, device=like.device).to(like.dtype)
        low, high = (cause.edges[0], cause.edges[-1]) if cause.continuous else (0, len(cause.states) - 1)
        if bool(((given < low) | (given > high)).any()):
            raise ValueError(f"factor {name!r} must lie in [{low}, {high}], got {value!r}")
        return given.expand(like.shape).clone()

    def intervene(
        self, factors: Mapping[str, Tensor], changes: Mapping[str, object], propagate: bool = False
    ) -> dict[str, Tensor]:
        """Sets some causes of the same people. With `propagate` the effects of these causes follow from the same noise.

        Args:
            changes: name -> state name, number or tensor [B].
            propagate: False changes no other cause (re-rendering one factor); True gives the counterfactual of the
                causal model.
        """
        self.check(changes)
        out = dict(factors)
        touched = set(changes)
        for name, value in changes.items():
            out[name] = self.encode(name, value, factors[name])
        if propagate:
            for name, cause in self.causes.items():
                if name not in changes and touched.intersection(cause.parents):
                    out[name] = self.value(name, out[NOISE][:, self.position[name]], out)
                    touched.add(name)
        return out

    def resample(self, factors: Mapping[str, Tensor], names: Sequence[str], u: Tensor) -> dict[str, Tensor]:
        """Makes N versions of each person. The named causes are redrawn given their (new) parents, and all others stay.

        Shapes: u [B,N,len(names)] in [0,1), in the order of `names` -> factors of B*N rows, versions of one person
            adjacent.
        """
        self.check(names)
        if u.ndim != 3 or u.shape[0] != len(factors[NOISE]) or u.shape[2] != len(names):
            raise ValueError(f"u must be [{len(factors[NOISE])}, N, {len(names)}], got {list(u.shape)}")
        out = {name: value.repeat_interleave(u.shape[1], 0) for name, value in factors.items()}
        fresh = dict(zip(names, u.to(torch.float32).clamp(max=1 - 2.0**-24).flatten(0, 1).unbind(-1), strict=True))
        for name in sorted(fresh, key=self.position.__getitem__):
            out[name] = self.value(name, fresh[name], out)
            out[NOISE][:, self.position[name]] = fresh[name]
        return out

    def attributes(self, factors: Mapping[str, Tensor]) -> Tensor:
        """The attributes in the order of `events`: bool [B,A]."""
        columns = []
        for wanted in self.events.values():
            holds = [
                torch.stack([self.state(n, factors) == self.causes[n].states.index(s) for s in states]).any(0)
                for n, states in wanted.items()
            ]
            columns.append(torch.stack(holds).all(0))
        return torch.stack(columns, -1)

    def ancestors(self, names: Iterable[str]) -> list[str]:
        """The named causes and all causes that they depend on, in causal order."""
        needed = set(names)
        for name in reversed(self.causes):
            if name in needed:
                needed.update(self.causes[name].parents)
        return [name for name in self.causes if name in needed]

    def probability(self, *events: Mapping[str, Sequence[str]]) -> float:
        """Exact probability that all events (factor -> allowed states) hold, by enumeration over the ancestors."""
        names = self.ancestors({name for event in events for name in event})
        axis = {name: i for i, name in enumerate(names)}
        joint = torch.ones([len(self.causes[n].states) for n in names], dtype=torch.float64)
        for name in names:
            table, scope = self._tables[name], (*self.causes[name].parents, name)
            order = sorted(range(len(scope)), key=lambda i: axis[scope[i]])  # noqa: B023
            shape = [len(self.causes[n].states) if n in scope else 1 for n in names]
            joint = joint * table.permute(order).reshape(shape)
        for event in events:
            for name, states in event.items():
                allowed = torch.tensor([s in states for s in self.causes[name].states], dtype=torch.float64)
                joint = joint * allowed.reshape([-1 if n == name else 1 for n in names])
        return float(joint.sum())

    def attribute_correlation(self) -> Tensor:
        """Exact correlation of the binary attributes, float64 [A,A]."""
        events = list(self.events.values())
        p = torch.tensor([self.probability(event) for event in events], dtype=torch.float64)
        both = torch.zeros(len(events), len(events), dtype=torch.float64)
        for i, j in itertools.combinations_with_replacement(range(len(events)), 2):
            both[i, j] = both[j, i] = self.probability(events[i], events[j])
        sigma = (p * (1 - p)).sqrt()
        return (both - p[:, None] * p) / (sigma[:, None] * sigma)
