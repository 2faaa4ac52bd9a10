"""The start and the end of each command: checks of the command line, messages for errors and interruptions."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import rename_row_group
from pomelo_lab.config.suggest import find_error, suggestions
from pomelo_lab.config.suites import remove_repeats


class WithoutAdvice:
    """An output stream that drops two parts of Hydra's error messages.

    The parts are the advice on HYDRA_FULL_ERROR and the lists of all choices and config folders. They would push the
    helpful lines out of sight.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lists = ""  # the lists that were dropped

    def write(self, text: str) -> int:
        if "HYDRA_FULL_ERROR=1 for a complete stack trace" in text:
            return len(text)
        said, mark, rest = text.partition("\n\nAvailable options in ")
        self.lists += mark + rest
        self.stream.write(said + "\n" if mark else said)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def command(main: Callable[[], None], config_name: str = "run", kept: Callable[[], str] = str) -> None:
    """Runs a Hydra main. When it ends with an error, the last lines suggest what to type instead.

    Modules of the current folder can be imported.

    Args: kept: says in words which results an interrupted command has stored.
    """
    # a last search for unused objects would take half a second, among those of torch, just before all are freed
    atexit.register(gc.freeze)
    if text := find_error(sys.argv[1:]):
        sys.exit(text)
    sys.argv[1:] = rename_row_group(remove_repeats(sys.argv[1:]))
    # `python -m` adds the current folder to sys.path, an installed command does not
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    stream, sys.stderr = sys.stderr, WithoutAdvice(sys.stderr)
    try:
        main()
    except KeyboardInterrupt:
        print(f"\nstopped: {kept()}\nthe same command continues there", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stop:
        if stop.code:
            lines = suggestions(stop.__context__, sys.argv[1:], config_name)
            print(
                "\n".join(lines) or sys.stderr.lists.strip(), file=stream, end="\n" if lines or sys.stderr.lists else ""
            )
        raise
    finally:
        sys.stderr = stream
