"""The command `pomelo-lab`, also `python -m pomelo_lab`.

Its first word chooses what to do. Without one of these words, it explains and scores: `pomelo-lab explainer=rise`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from pomelo_lab import __version__


class Word(NamedTuple):
    """A word of the command: the function behind it, and one line of help.

    hydra: the function reads `sys.argv`, as Hydra does; others get the rest of the command line.
    """

    module: str
    help: str
    hydra: bool = False
    function: str = "main"


WORDS = {
    "run": Word("run", "explain and score: one job, or a grid with -m", hydra=True, function="cli"),
    "train": Word("train", "train a classifier or a generator", hydra=True, function="cli"),
    "table": Word("results.show", "print a paper's table from stored scores, with its claims"),
    "figure": Word("results.show", "draw a figure of a table's jobs: figure NAME TABLE", function="draw"),
    "report": Word("html_report.command", "one HTML page of finished jobs: table, gallery of maps, costs, configs"),
    "export": Word("export", "maps, overlays and counterfactuals of a finished job, as files"),
    "status": Word("results.status", "finished, failed and missing jobs of a table"),
    "conformance": Word("conformance.__main__", "try a component of your own"),
    "sync": Word("tracking.sync", "upload finished offline W&B runs"),
    "bench": Word("bench.report", "times beside other packages, as ratios"),
    "demo": Word("demo", "tables and figures of the POMELO paper on drawn faces, in minutes"),
}


def main(arguments: Sequence[str] | None = None) -> int | str | None:
    """Does what the first word says. Returns the exit status, or the message of a failure."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments == ["--version"]:
        print(f"pomelo_lab {__version__}")
        return 0
    known = arguments[0] in WORDS
    if not known and arguments[0].isidentifier():
        from pomelo_lab.config.describe import did_you_mean

        print(
            f"there is no command {arguments[0]}{did_you_mean(arguments[0], WORDS)}: {', '.join(WORDS)}",
            file=sys.stderr,
        )
        return 2
    word, rest = WORDS[arguments[0] if known else "run"], arguments[1:] if known else arguments
    if str(Path.cwd()) not in sys.path and "" not in sys.path:  # an installed command does not add the current folder
        sys.path.append(str(Path.cwd()))
    function = getattr(import_module(f"pomelo_lab.{word.module}"), word.function)
    if not word.hydra:
        return function(rest)
    sys.argv[1:] = rest
    return function()


def usage() -> str:
    """The help, which fits a screen."""
    lines = ["usage: pomelo-lab WORD ...    (also: python -m pomelo_lab WORD ...)", ""]
    lines += [f"  {name:12} {word.help}" for name, word in WORDS.items()]
    lines += [
        "",
        "pomelo-lab WORD --help says more; pomelo-lab KEY=VALUE ... is short for pomelo-lab run KEY=VALUE ...",
        "First steps:",
        "  pomelo-lab run explainer=lime sampler=blur n_images=8      one job on drawn faces",
        "  pomelo-lab run -m experiment=pomelo_table1 scale=smoke     a paper's table, as small as it gets",
        "  pomelo-lab table pomelo_table1 scale=smoke                 the table again, from stored scores",
        "Completion of keys and values in bash:",
        '  eval "$(pomelo-lab run --shell-completion install=bash)"',
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
