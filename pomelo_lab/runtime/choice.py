"""The choice of the runtime of a network: the one that was asked for, or the fastest, if its answers are the network's.

A runtime is prepared while a job runs, on the rows that the job asks about anyway. Until then, and wherever a runtime
does not fit, the network itself answers.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.config.schema import RuntimeName
from pomelo_lab.runtime.base import Answer, CannotPrepare, OneTensor, Runtime
from pomelo_lab.runtime.compiled import Compiled
from pomelo_lab.runtime.frozen import Frozen
from pomelo_lab.runtime.graph import Graph
from pomelo_lab.runtime.onnx import OnnxRuntime

log = logging.getLogger(__name__)

RUNTIMES: Mapping[str, Runtime] = {runtime.name: runtime for runtime in (OnnxRuntime(), Frozen(), Graph(), Compiled())}
TOLERANCE = 2e-5  # largest difference between two answers, as a share of the largest answer
REPEATS = 3  # alternating timings of a runtime and the network
GAIN = 1.05  # a runtime that is no faster than this is not worth another kind of rounding
PREPARE_S = 4.0  # seconds that a preparation takes at least, and before this process has measured one
EXPECTED_GAIN = 1.25  # of a runtime that `auto` has not tried yet
CHECKED = 2  # further calls whose first rows are compared
ROWS = 8  # rows that are compared in these
_prepared: list[float] = []  # seconds of the preparations of this process
_watching: list[dict[str, dict[str, Any]]] = []


class Parts:
    """The modules and tensors of a network, listed once, because walking through a network takes long."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.inner = [part for part in network.modules() if part is not network]
        self.tensors = [*network.parameters(), *network.buffers()]

    def have_hooks(self) -> bool:
        """Whether a part of the network has hooks, which only the network itself calls."""
        return any(part._forward_hooks or part._forward_pre_hooks for part in self.inner)

    def read_state(self) -> tuple[Any, ...]:
        """What changes when weights are written to, or moved to another device."""
        return tuple(part._version for part in self.tensors), self.tensors[0].data_ptr() if self.tensors else 0


@dataclass
class Chosen:
    """What was found for inputs of one shape.

    answer: computes the network; None = the network itself.
    left: calls that are still compared; gain, difference: measured in the choice; why: the reason for the network.
    """

    runtime: str = "eager"
    answer: Answer | None = None
    left: int = CHECKED
    gain: float = 1.0
    difference: float = 0.0
    why: str = ""

    def describe(self) -> dict[str, Any]:
        """For status.json."""
        if self.answer is None:
            return {"runtime": "eager", "why": self.why}
        return {"runtime": self.runtime, "gain": round(self.gain, 2), "largest difference": self.difference}


@dataclass
class Choice:
    """Computes one network without gradients, by the runtime `wanted`.

    A choice belongs to the weights that it was made for: other weights, and a copy of the choice, start anew.

    Args:
        name: of the network, for messages.
        on_switch: called when another runtime takes over.
        planned: rows that the network will still be asked for, as far as a job has planned them. None = unknown.
    """

    name: str
    wanted: RuntimeName = "auto"
    on_switch: Callable[[], None] = lambda: None
    planned: int | None = None
    seconds: float = 0.0  # that the network itself computed
    pace: float = 0.0  # seconds per row in the fastest call but the first one, which also warms up; 0 = unknown
    chosen: dict[Any, Chosen] = field(default_factory=dict)  # by the shape of inputs
    parts: Parts | None = None
    state: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Choice:
        return Choice(self.name, self.wanted)

    def is_free(self, network: nn.Module) -> bool:
        """Whether a runtime may compute the network now: it does not train, and no part of it has hooks."""
        if self.parts is None or self.parts.network is not network:
            self.parts = Parts(network)
        return not network.training and not self.parts.have_hooks()

    def __call__(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """The answers [M,...] of a network to inputs whose first axis is M."""
        if self.parts is None or self.parts.network is not network:
            self.parts = Parts(network)
        if (state := self.parts.read_state()) != self.state:
            self.state, self.chosen, self.seconds, self.pace = state, {}, 0.0, 0.0
        if self.planned is not None:
            self.planned -= len(inputs[0])
        key = tuple((part.shape[1:], part.dtype, part.device, part.ndim) for part in inputs)
        found = self.chosen.get(key)
        if found is None:
            start = time.monotonic()
            answer = OneTensor(network)(*inputs)
            self.clock(time.monotonic() - start, len(inputs[0]))
            self.note(Chosen(why="its forwards take too little time for a preparation"))
            if self.wanted != "auto" or (len(inputs[0]) >= ROWS and self.pays_off()):
                self.chosen[key] = found = self.choose(network, inputs, answer)
                self.report(found)
            return answer
        self.note(found)
        if found.answer is None:
            return OneTensor(network)(*inputs)
        answer = found.answer(*inputs)
        if found.left and len(inputs[0]):
            found.left -= 1
            gap = difference(answer[:ROWS], OneTensor(network)(*first_rows(inputs, ROWS)))
            if not gap <= TOLERANCE:
                self.chosen[key] = found = Chosen(why=f"{found.runtime}: its answers differ by {gap:.1g}")
                self.report(found)
                return OneTensor(network)(*inputs)
        return answer

    def clock(self, seconds: float, n_rows: int) -> None:
        """Takes note of the time of a call of the network itself."""
        if self.seconds and n_rows:
            self.pace = min(self.pace or seconds / n_rows, seconds / n_rows)
        self.seconds += seconds

    def pays_off(self) -> bool:
        """Whether a preparation is expected to save more time than it takes.

        Where nothing is planned, or more is asked than was planned, the network first computes for as long as a
        preparation takes. A preparation then at most doubles the time.
        """
        prepare = max(PREPARE_S, statistics.median(_prepared or [0.0]))  # another network may be larger than those
        if self.planned is None or self.planned <= 0:
            return self.seconds > prepare
        return self.pace * self.planned * (1 - 1 / EXPECTED_GAIN) > prepare

    def choose(self, network: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> Chosen:
        """Tries the runtimes on inputs whose answer is known. The fastest that agrees is chosen."""
        start = time.monotonic()
        device = inputs[0].device.type
        auto = self.wanted == "auto"
        names = [name for name, it in RUNTIMES.items() if device in it.devices] if auto else [self.wanted]
        best, reasons = Chosen(gain=GAIN if auto else 0.0), []
        for name in names:
            try:
                tried = self.try_one(RUNTIMES[name], network, inputs, answer)
            except CannotPrepare as error:
                if not auto:
                    raise ValueError(f"runtime={name}: {error}") from error
                reasons.append(f"{name}: {error}")
            except Exception as error:  # noqa: BLE001 (of a tracer or compiler: the network itself still answers)
                reasons.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}")
            else:
                if tried.answer is None:
                    reasons.append(tried.why)
                elif tried.gain > best.gain:
                    best = tried
                else:
                    reasons.append(f"{name}: {tried.gain:.2f} times as fast")
        if auto and names:
            _prepared.append(time.monotonic() - start)
        return best if best.answer is not None else Chosen(why="; ".join(reasons) or f"no other runtime for {device}")

    def try_one(self, runtime: Runtime, network: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> Chosen:
        """Prepares a runtime, compares its answers for all rows, some rows and unlike rows, and measures its speed."""
        prepared = runtime.prepare(network, inputs)
        unlike = unlike_rows(inputs)
        asked = [(inputs, answer), (first_rows(inputs, len(answer) // 2 or 1), answer[: len(answer) // 2 or 1])]
        asked.append((unlike, OneTensor(network)(*unlike)))
        gap = max(difference(prepared(*parts), right) for parts, right in asked)
        if not gap <= TOLERANCE:  # also NaN
            return Chosen(why=f"{runtime.name}: its answers differ by {gap:.1g}")
        ways: dict[str, Answer] = {"eager": OneTensor(network), "other": prepared}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(REPEATS):
            for name, way in ways.items():
                start = time.perf_counter()
                way(*inputs)
                if inputs[0].is_cuda:
                    torch.cuda.synchronize()
                seconds[name].append(time.perf_counter() - start)
        gain = statistics.median(seconds["eager"]) / statistics.median(seconds["other"])
        return Chosen(runtime.name, prepared, gain=gain, difference=gap)

    def report(self, found: Chosen) -> None:
        """Says once what computes the network from now on."""
        log.info("%s: %s", self.name, ", ".join(f"{key} {value}" for key, value in found.describe().items()))
        self.note(found)
        if found.answer is not None:
            self.on_switch()

    def note(self, found: Chosen) -> None:
        """Records what computes the network, for `watch_runtimes`."""
        for runtimes in _watching:
            runtimes[self.name] = found.describe()


def first_rows(inputs: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    """The first n rows of inputs."""
    return tuple(part[:n] if part.ndim else part for part in inputs)


def unlike_rows(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs with the negatives of images, because a trace keeps only the branch that the images it saw have taken."""
    images, *others = first_rows(inputs, ROWS)
    return (-images, *others)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two answers, as a share of the largest answer. NaN when either has NaN."""
    scale = other.abs().amax().clamp_min(torch.finfo(torch.float32).tiny) if other.numel() else 1.0
    return float(((one.float() - other.float()).abs() / scale).amax()) if other.numel() else 0.0


@contextmanager
def watch_runtimes() -> Iterator[dict[str, dict[str, Any]]]:
    """A context that records what networks chose in it, by name."""
    runtimes: dict[str, dict[str, Any]] = {}
    _watching.append(runtimes)
    try:
        yield runtimes
    finally:
        _watching[:] = [known for known in _watching if known is not runtimes]
