"""Where Hydra puts its records of a command, and whether anything can be written at all."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

PROBE = b" " * 2**16  # what Hydra's records of a command need


class Records(Callback):
    """Moves Hydra's folder of a command out of `paths.outputs` where that cannot be written, so that a message of ours
    tells so and what is finished is still shown; and for `dry_run`, which leaves nothing."""

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
    """Why nothing can be written below a folder, in the system's words; "" where it can."""
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
            for path in new:  # as it was: a job makes it when it has something to write
                path.rmdir()
        except OSError:
            pass
    return ""
