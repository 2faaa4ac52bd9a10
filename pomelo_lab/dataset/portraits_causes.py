"""The structural causal model of portraits, written down as data: CAUSES (who depends on whom, how often) and
ATTRIBUTES.

Every cause is drawn from one uniform number given its parents, so the exogenous noise of a person is explicit: the
same noise with another parent is the counterfactual person. A continuous cause is piecewise uniform (bins with
rates), so that all attribute rates and correlations follow exactly by enumeration.

Groups: `person` and `style` are who is portrayed (identity); `expression`, `pose` and `scene` are nuisance.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pomelo_lab.config.signature import did_you_mean

HAIR_COLORS = ("blond", "black", "gray", "brown", "bald")
ANY = "*"  # in a rates key: every state of that parent
NOISE = "noise"  # key of the exogenous uniforms [B, number of causes] in a factors dict


@dataclass(frozen=True)
class Cause:
    """One node: its states (with `edges`: bins of a continuous value) and their rates per combination of parent
    states."""

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
    """A categorical cause; `rates` is one tuple, or a dict from parent states to tuples."""
    return Cause(
        name, group, tuple(states), rates if isinstance(rates, Mapping) else {(): tuple(rates)}, tuple(parents)
    )


def level(name: str, group: str, bins: Mapping[str, float], rates, parents: Sequence[str] = ()) -> Cause:
    """A continuous cause from 0; `bins` maps the name of each bin to its upper edge."""
    edges = (0.0, *bins.values())
    return Cause(
        name, group, tuple(bins), rates if isinstance(rates, Mapping) else {(): tuple(rates)}, tuple(parents), edges
    )


def free(group: str, low: float, high: float, *names: str) -> tuple[Cause, ...]:
    """Uniform causes without parents."""
    return tuple(Cause(name, group, ("any",), {(): (1.0,)}, (), (low, high)) for name in names)


# fmt: off
CAUSES: tuple[Cause, ...] = (
    # the person
    choice("male", "person", ("female", "male"), (0.52, 0.48)),
    level("age", "person", {"young": 0.45, "middle": 0.7, "old": 1.0}, (0.50, 0.27, 0.23)),
    level("skin", "person", {"pale": 0.2, "light": 0.5, "tan": 0.75, "deep": 1.0}, (0.26, 0.38, 0.20, 0.16)),
    level("jaw", "person", {"narrow": 0.5, "wide": 1.0}, {("female",): (0.75, 0.25), ("male",): (0.25, 0.75)},
          ["male"]),
    level("fullness", "person", {"lean": 0.65, "chubby": 1.0}, {("young",): (0.88, 0.12), (ANY,): (0.76, 0.24)},
          ["age"]),
    level("nose_width", "person", {"small": 0.6, "big": 1.0}, {("female",): (0.88, 0.12), ("male",): (0.65, 0.35)},
          ["male"]),
    level("lip_fullness", "person", {"thin": 0.6, "big": 1.0}, {("female",): (0.65, 0.35), ("male",): (0.82, 0.18)},
          ["male"]),
    choice("eye_color", "person", ("brown", "blue", "green", "hazel"),
           {("pale",): (0.30, 0.38, 0.20, 0.12), ("light",): (0.45, 0.27, 0.13, 0.15), (ANY,): (0.82, 0.04, 0.04,
           0.10)}, ["skin"]),
    *free("person", 0, 1, "face_width", "eye_distance", "nose_length", "brow_shape"),
    level("brow_thickness", "person", {"thin": 0.55, "bushy": 1.0}, {("female",): (0.88, 0.12), ("male",): (0.55,
          0.45)}, ["male"]),
    # hair: the label is hair_color
    choice("hair_color", "style", HAIR_COLORS, {
        ("female", "young"): (0.315, 0.270, 0.020, 0.385, 0.010),
        ("female", "middle"): (0.280, 0.240, 0.100, 0.365, 0.015),
        ("female", "old"): (0.150, 0.090, 0.600, 0.140, 0.020),
        ("male", "young"): (0.195, 0.335, 0.020, 0.330, 0.120),
        ("male", "middle"): (0.140, 0.220, 0.120, 0.220, 0.300),
        ("male", "old"): (0.060, 0.070, 0.410, 0.090, 0.370)}, ["male", "age"]),
    choice("hair_length", "style", ("short", "medium", "long"),
           {("female",): (0.14, 0.34, 0.52), ("male",): (0.84, 0.11, 0.05)}, ["male"]),
    choice("hair_style", "style", ("side", "center", "fringe", "swept", "curly"),
           {("female",): (0.26, 0.24, 0.24, 0.08, 0.18), ("male",): (0.36, 0.06, 0.14, 0.30, 0.14)}, ["male"]),
    *free("style", 0, 1, "hair_light", "hair_warmth", "hair_volume", "hair_phase"),
    *free("style", -1, 1, "hair_parting"),
    choice("facial_hair_color", "style", ("fair", "brown", "dark", "gray"), {
        ("blond",): (0.50, 0.38, 0.10, 0.02), ("black",): (0.02, 0.20, 0.76, 0.02), ("gray",): (0.06, 0.16, 0.24, 0.54),
        ("brown",): (0.08, 0.62, 0.28, 0.02), ("bald",): (0.15, 0.35, 0.35, 0.15)}, ["hair_color"]),
    choice("beard", "style", ("none", "mustache", "goatee", "full"), {
        ("female", ANY): (0.997, 0.001, 0.001, 0.001), ("male", "young"): (0.66, 0.07, 0.11, 0.16),
        ("male", ANY): (0.54, 0.13, 0.11, 0.22)}, ["male", "age"]),
    choice("lipstick", "style", ("none", "red", "pink", "plum"),
           {("female",): (0.36, 0.28, 0.24, 0.12), ("male",): (0.985, 0.005, 0.005, 0.005)}, ["male"]),
    choice("earrings", "style", ("none", "stud", "hoop"), {
        ("female", "none"): (0.78, 0.14, 0.08), ("female", ANY): (0.48, 0.26, 0.26), ("male", ANY): (0.95, 0.04, 0.01)},
           ["male", "lipstick"]),
    level("blush", "style", {"low": 0.6, "rosy": 1.0}, {("none",): (0.93, 0.07), (ANY,): (0.62, 0.38)}, ["lipstick"]),
    choice("glasses", "style", ("none", "round", "square", "sun"), {
        ("young",): (0.84, 0.06, 0.06, 0.04), ("middle",): (0.76, 0.09, 0.11, 0.04), ("old",): (0.60, 0.16, 0.21,
        0.03)}, ["age"]),
    choice("hat", "style", ("none", "cap", "beanie", "brim"), {
        ("female", "young"): (0.88, 0.03, 0.05, 0.04), ("female", ANY): (0.90, 0.02, 0.02, 0.06),
        ("male", "young"): (0.80, 0.10, 0.07, 0.03), ("male", ANY): (0.85, 0.05, 0.03, 0.07)}, ["male", "age"]),
    choice("shirt", "style", ("crew", "vneck", "collar", "tie"), {
        ("female", ANY): (0.48, 0.36, 0.15, 0.01), ("male", "young"): (0.54, 0.14, 0.22, 0.10),
        ("male", ANY): (0.32, 0.10, 0.33, 0.25)}, ["male", "age"]),
    *free("style", 0, 1, "shirt_hue", "shirt_chroma", "shirt_light", "trim_hue", "hat_hue", "hat_chroma", "hat_light",
          "frame_light"),
    # the moment
    level("smile", "expression", {"serious": 0.3, "slight": 0.5, "soft": 0.7, "broad": 1.0},
          {("female",): (0.38, 0.08, 0.10, 0.44), ("male",): (0.50, 0.10, 0.10, 0.30)}, ["male"]),
    level("mouth_open", "expression", {"closed": 0.4, "open": 1.0},
          {("serious",): (0.80, 0.20), ("slight",): (0.80, 0.20), (ANY,): (0.34, 0.66)}, ["smile"]),
    level("eye_open", "expression", {"narrow": 0.3, "wide": 1.0},
          {("soft",): (0.20, 0.80), ("broad",): (0.26, 0.74), (ANY,): (0.10, 0.90)}, ["smile"]),
    *free("expression", -1, 1, "gaze", "brow_raise"),
    # the picture
    *free("pose", -0.13, 0.13, "x"),
    *free("pose", -0.06, 0.07, "y"),
    *free("pose", 0.56, 0.70, "scale"),
    *free("pose", -0.14, 0.14, "tilt"),
    choice("background", "scene", ("plain", "gradient", "stripes", "dots"), (0.20, 0.40, 0.20, 0.20)),
    *free("scene", 0, 1, "background_hue", "background_chroma", "background_light", "background_shift",
          "background_phase"),
    *free("scene", -1, 1, "background_slope", "light_x", "light_warmth"),
    *free("scene", 0, 1, "light_strength", "exposure"),
)

# attribute -> the states that it asks for, all of them
ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Male": {"male": ("male",)},
    "Young": {"age": ("young",)},
    "Pale_Skin": {"skin": ("pale",)},
    "Chubby": {"fullness": ("chubby",)},
    "Big_Nose": {"nose_width": ("big",)},
    "Big_Lips": {"lip_fullness": ("big",)},
    "Bushy_Eyebrows": {"brow_thickness": ("bushy",)},
    "Blond_Hair": {"hair_color": ("blond",)},
    "Black_Hair": {"hair_color": ("black",)},
    "Gray_Hair": {"hair_color": ("gray",)},
    "Brown_Hair": {"hair_color": ("brown",)},
    "Bald": {"hair_color": ("bald",)},
    "Long_Hair": {"hair_length": ("long",), "hair_color": HAIR_COLORS[:4]},
    "Bangs": {"hair_style": ("fringe",), "hair_color": HAIR_COLORS[:4]},
    "Wavy_Hair": {"hair_style": ("curly",), "hair_color": HAIR_COLORS[:4]},
    "Beard": {"beard": ("goatee", "full")},
    "Mustache": {"beard": ("mustache", "goatee", "full")},
    "Wearing_Lipstick": {"lipstick": ("red", "pink", "plum")},
    "Wearing_Earrings": {"earrings": ("stud", "hoop")},
    "Rosy_Cheeks": {"blush": ("rosy",)},
    "Eyeglasses": {"glasses": ("round", "square", "sun")},
    "Wearing_Hat": {"hat": ("cap", "beanie", "brim")},
    "Wearing_Necktie": {"shirt": ("tie",)},
    "Smiling": {"smile": ("soft", "broad")},
    "Mouth_Slightly_Open": {"mouth_open": ("open",)},
    "Narrow_Eyes": {"eye_open": ("narrow",)},
}
MARK = {"Mark": {"mark": ("present",)}}  # an attribute where marks are planted
CLASS_ATTRIBUTES = dict(zip(HAIR_COLORS, ("Blond_Hair", "Black_Hair", "Gray_Hair", "Brown_Hair", "Bald"), strict=True))
# fmt: on


def mark_cause(attribute: str | None, rate: float) -> Cause:
    """The spurious mark: present with `rate` where `attribute` holds and 1 - rate elsewhere; never without an
    attribute."""
    states = ("absent", "present")
    if attribute is None:
        return choice("mark", "scene", states, (1.0, 0.0))
    wanted = ATTRIBUTES[CLASS_ATTRIBUTES.get(attribute, attribute)]
    domains, rates = {c.name: c.states for c in CAUSES}, {}
    for key in itertools.product(*(domains[parent] for parent in wanted)):
        p_mark = (
            rate if all(state in allowed for state, allowed in zip(key, wanted.values(), strict=True)) else 1 - rate
        )
        rates[key] = (1 - p_mark, p_mark)
    return choice("mark", "scene", states, rates, tuple(wanted))


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 (wrapping), elementwise."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def uniforms(seed: int, stream: str, index: Tensor, names: Iterable[str]) -> Tensor:
    """Counter-based noise: float32 [B,F] in [0,1) on a 24-bit grid, a function of (seed, stream, index, name) alone."""
    step = -0x61C8864680B583EB  # the golden-ratio increment of splitmix64
    key = mix(mix(torch.tensor(seed) + step) + zlib.crc32(stream.encode()) * 2 + 1)
    key = mix(key.to(index.device) + (index.long() + 1) * step)
    salt = torch.tensor([zlib.crc32(name.encode()) for name in names], device=index.device)
    bits = mix(mix(key[:, None] ^ (salt << 16)) + step)
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


class CausalModel:
    """Draws, intervenes on and enumerates a list of causes (parents stand before their children).

    Args: events: attribute -> the states that it asks for, all of them.
    Shapes: factors are a dict name -> [B] (int64 state, or float32 value of a continuous cause), plus `noise` [B,F].
    Random: none; every draw is a function of the uniforms handed in.
    """

    def __init__(self, causes: Sequence[Cause], events: Mapping[str, Mapping[str, Sequence[str]]] = ATTRIBUTES) -> None:
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
        """Raises ValueError for names that are no causes."""
        for name in names:
            if name not in self.causes:
                raise ValueError(
                    f"unknown factor {name!r}{did_you_mean(name, self.causes)}; known: {', '.join(self.causes)}"
                )

    def state(self, name: str, factors: Mapping[str, Tensor]) -> Tensor:
        """int64 [B]: the state of a cause (the bin of a continuous one)."""
        edges, value = self.causes[name].edges, factors[name]
        if not edges:
            return value
        inner = torch.tensor(edges[1:-1], dtype=value.dtype, device=value.device)
        return (value[..., None] >= inner).sum(-1)

    def value(self, name: str, u: Tensor, factors: Mapping[str, Tensor]) -> Tensor:
        """[B]: a cause drawn with the uniforms u [B] given its parents in `factors`."""
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
        """All causes of B people from their noise [B,F]."""
        factors: dict[str, Tensor] = {NOISE: noise}
        for name, i in self.position.items():
            factors[name] = self.value(name, noise[:, i], factors)
        return factors

    def encode(self, name: str, value: object, like: Tensor) -> Tensor:
        """A value given by hand (state name, number, or tensor [B]) as a factor [B]."""
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
        """Factors of the same people with some causes set; with `propagate` the effects of these causes follow, from
        the same noise.

        Args:
            changes: name -> state name, number or tensor [B].
            propagate: False changes nothing else (re-rendering one factor); True is the counterfactual of the causal
                model.
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
        """N versions of each person with the named causes redrawn given their (new) parents; all else is kept.

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
        """bool [B,A] in the order of `events`."""
        columns = []
        for wanted in self.events.values():
            holds = [
                torch.stack([self.state(n, factors) == self.causes[n].states.index(s) for s in states]).any(0)
                for n, states in wanted.items()
            ]
            columns.append(torch.stack(holds).all(0))
        return torch.stack(columns, -1)

    def ancestors(self, names: Iterable[str]) -> list[str]:
        """The names and all they depend on, in causal order."""
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
