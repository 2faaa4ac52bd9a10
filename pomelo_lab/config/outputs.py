"""The location of Hydra's records of a command, and a check whether a folder can be written."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

PROBE = b" " * 2**16  # as large as Hydra's records of a command


class Records(Callback):
    """Moves Hydra's records of a command to a temporary folder, in two cases.

    A dry run must not leave files. When `paths.outputs` cannot be written, Hydra would fail; this package can then
    still show finished results, or report the problem in its own words.
    """

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        self.move(config, "run")

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        self.move(config, "sweep")

    def move(self, config: Any, kind: str) -> None:
        from omegaconf import open_dict, read_write

        if config.get("dry_run") or unwritable(config.paths.outputs):
            folder = tempfile.mkdtemp(prefix="pomelo_lab-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra[kind].dir = folder


def unwritable(folder: str | Path) -> str:
    """The reason why a folder cannot be written, as the operating system names it. "" when it can be written."""
    folder = Path(folder)
    probe = folder / f".probe-{os.getpid()}"
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(PROBE)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        try:
            probe.unlink(missing_ok=True)
            for path in new:  # remove the new folders, because a job creates them only when it writes something
                path.rmdir()
        except OSError:
            pass
    return ""
