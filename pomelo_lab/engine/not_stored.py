"""The error of a reader that finds no artefact. The module imports no torch."""

from __future__ import annotations


class NotStored(ValueError):
    """Raised when an artefact is read that no job has stored.

    missing: the artefact and its folder, in words. options: overrides that make a finished job compute it.
    """

    def __init__(self, missing: str, command: str, options: str = "") -> None:
        super().__init__(f"{missing}: {' '.join(filter(None, (command, options)))} makes it")
        self.missing, self.options = missing, options
