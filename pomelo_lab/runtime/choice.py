"""The choice of the runtime of a network: the one that was asked for, or the fastest, if its answers are the network's.

A runtime is prepared while a job runs, on the rows that the job asks about anyway. Until then, and wherever a runtime
does not fit, the network itself answers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from pomelo_lab.config.schema import RuntimeName
from pomelo_lab.runtime.base import CannotPrepare, OneTensor, Runtime
from pomelo_lab.runtime.changes import Changes
from pomelo_lab.runtime.chosen import (
    GAIN,
    ROWS,
    TOLERANCE,
    Chosen,
    compare_speed,
    difference,
    first_line,
    first_rows,
    note,
    report,
)
from pomelo_lab.runtime.compiled import Compiled
from pomelo_lab.runtime.frozen import Frozen
from pomelo_lab.runtime.graph import Graph
from pomelo_lab.runtime.incremental import Incremental
from pomelo_lab.runtime.onnx import OnnxRuntime
from pomelo_lab.runtime.originals import Originals

RUNTIMES: Mapping[str, Runtime] = {runtime.name: runtime for runtime in (OnnxRuntime(), Frozen(), Graph(), Compiled())}
PREPARE_S = 4.0  # seconds that a preparation takes at least, and before this process has measured one
TRIED = {"cpu": 16}  # rows that runtimes are tried on, by type of device; all rows of a call elsewhere
EXPECTED_GAIN = 1.25  # of a runtime that `auto` has not tried yet
WHOLE = "these images were made from no known ones"
_prepared: list[float] = []  # seconds of the preparations of this process


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
    changes: Changes = field(init=False)

    def __post_init__(self) -> None:
        self.changes = Changes(f"{self.name}, images with a changed part", self.wanted, self.on_switch)

    def __deepcopy__(self, memo: dict[int, Any]) -> Choice:
        return Choice(self.name, self.wanted)

    def is_free(self, network: nn.Module) -> bool:
        """Whether a runtime may compute the network now: it does not train, and no part of it has hooks."""
        if self.parts is None or self.parts.network is not network:
            self.parts = Parts(network)
        return not network.training and not self.parts.have_hooks()

    def __call__(self, network: nn.Module, *inputs: Tensor, originals: Originals | None = None) -> Tensor:
        """The answers [M,...] of a network to inputs whose first axis is M.

        Args: originals: of the images among the inputs, where they are known.
        """
        if self.parts is None or self.parts.network is not network:
            self.parts = Parts(network)
        if (state := self.parts.read_state()) != self.state:
            self.state, self.chosen, self.seconds, self.pace = state, {}, 0.0, 0.0
            self.changes.forget()
        if self.planned is not None:
            self.planned -= len(inputs[0])
        if originals is None or len(inputs) > 1 or not self.is_time_for_changes(inputs):
            return self.whole(network, *inputs)
        return self.changes(network, inputs[0], originals, partial(self.whole, network))

    def is_time_for_changes(self, inputs: tuple[Tensor, ...]) -> bool:
        """Whether changes of images may be followed: when this was asked for, or the runtime of whole forwards is
        chosen."""
        return self.wanted == Incremental.name or (self.wanted == "auto" and shape_key(inputs) in self.chosen)

    def whole(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """The answers from whole forwards."""
        key = shape_key(inputs)
        found = self.chosen.get(key)
        if found is None:
            start = time.monotonic()
            answer = OneTensor(network)(*inputs)
            self.clock(time.monotonic() - start, len(inputs[0]))
            auto, asked = self.wanted == "auto", self.wanted in RUNTIMES
            note(self.name, Chosen(why="its forwards take too little time for a preparation" if auto else WHOLE))
            if asked or (auto and len(inputs[0]) >= ROWS and self.pays_off()):
                self.chosen[key] = found = self.choose(network, inputs, answer)
                self.report(found)
            return answer
        note(self.name, found)
        if found.answer is not None:
            answer = found.answer(*inputs)
            if found.agrees(answer, lambda: OneTensor(network)(*first_rows(inputs, ROWS))):
                return answer
            self.report(found)
        return OneTensor(network)(*inputs)

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
        """Tries the runtimes on the first inputs whose answer is known. The fastest that agrees is chosen."""
        start = time.monotonic()
        device = inputs[0].device.type
        n = TRIED.get(device, len(answer))
        inputs, answer = first_rows(inputs, n), answer[:n]
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
                reasons.append(f"{name}: {first_line(error)}")
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
        gain = compare_speed(lambda: OneTensor(network)(*inputs), lambda: prepared(*inputs), inputs[0].device)
        return Chosen(runtime.name, prepared, gain=gain, difference=gap)

    def report(self, found: Chosen) -> None:
        """Says once what computes the network from now on."""
        report(self.name, found)
        if found.answer is not None:
            self.on_switch()


def shape_key(inputs: tuple[Tensor, ...]) -> Hashable:
    """What a choice is made for: the shapes of inputs without their rows, and their kinds."""
    return tuple((part.shape[1:], part.dtype, part.device, part.ndim) for part in inputs)


def unlike_rows(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs with the negatives of images, because a trace keeps only the branch that the images it saw have taken."""
    images, *others = first_rows(inputs, ROWS)
    return (-images, *others)
