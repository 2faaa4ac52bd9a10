"""The choice between whole and incremental forwards, for images that differ from known ones in part."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from torch import Tensor, nn

from pomelo_lab.config.schema import RuntimeName
from pomelo_lab.runtime.base import Answer, CannotPrepare
from pomelo_lab.runtime.chosen import GAIN, ROWS, TOLERANCE, Chosen, compare_speed, difference, first_line, note, report
from pomelo_lab.runtime.incremental import Incremental
from pomelo_lab.runtime.originals import Change, Originals

USUAL = "whole forwards"


@dataclass
class Changes:
    """Answers for images with a changed part, incrementally where that agrees with whole forwards and is faster.

    The choice is made once for each shape of images and each side of the changed square, against the runtime that is in
    use for whole forwards.

    Args:
        name: for messages.
        wanted: "incremental" = also where it is not faster.
        on_switch: called when incremental forwards take over.
    """

    name: str
    wanted: RuntimeName = "auto"
    on_switch: Callable[[], None] = lambda: None
    chosen: dict[Hashable, Chosen] = field(default_factory=dict)

    def forget(self) -> None:
        """Starts anew, for other weights."""
        self.chosen = {}

    def __call__(self, network: nn.Module, images: Tensor, originals: Originals, whole: Answer) -> Tensor:
        """The answers [M,...] of a network to images [M,C,H,W]. `whole` answers from whole forwards."""
        change = Change.find(images, originals)
        if change is None:
            return whole(images)
        key = images.shape[1:], images.dtype, images.device, change.side
        found = self.chosen.get(key)
        if found is None:
            answer = whole(images)
            if self.wanted == Incremental.name or len(images) >= ROWS:
                self.chosen[key] = found = self.choose(network, images, originals, change, whole)
                report(self.name, found)
                if found.answer is not None:
                    self.on_switch()
            return answer
        note(self.name, found)
        if found.answer is not None:
            answer = found.answer(images, originals, change)
            if found.agrees(answer, lambda: whole(images[:ROWS])):
                return answer
            report(self.name, found)
        return whole(images)

    def choose(self, network: nn.Module, images: Tensor, originals: Originals, change: Change, whole: Answer) -> Chosen:
        """Compares the answers and the speed of incremental and whole forwards. The time of the former includes the
        maps of originals, which later calls share."""
        name = Incremental.name
        try:
            prepared = Incremental(network, images, change.side)
            gap = difference(prepared(images, originals.forget(), change), whole(images))
        except CannotPrepare as error:
            return Chosen(why=f"{name}: {error}", usual=USUAL)
        except Exception as error:  # noqa: BLE001 (of the tracer: whole forwards still answer)
            return Chosen(why=f"{name}: {first_line(error)}", usual=USUAL)
        if not gap <= TOLERANCE:  # also NaN
            return Chosen(why=f"{name}: its answers differ by {gap:.1g}", usual=USUAL)
        gain = compare_speed(lambda: whole(images), lambda: prepared(images, originals.forget(), change), images.device)
        if self.wanted != name and gain <= GAIN:
            return Chosen(why=f"{name}: {gain:.2f} times as fast", usual=USUAL)
        return Chosen(name, prepared, gain=gain, difference=gap, usual=USUAL)
