"""Runs the comparisons, and prints and writes their rows."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from pomelo_lab import bench as package
from pomelo_lab.allocator import keep_pages
from pomelo_lab.bench.row import Row
from pomelo_lab.bench.setting import Setting
from pomelo_lab.compat import ensure
from pomelo_lab.files import write_text

HEAD = ("", "median", "min - max", "by CPU time", "target", "met", "theirs and ours")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # how threads wait: see pomelo_lab/__init__.py
COMPARED = ("torch", "lime", "captum", "quantus", "scikit-learn", "numpy")


def comparisons() -> dict[str, ModuleType]:
    """The modules of this folder that have a function `compare`, by file name."""
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "compare")}


def machine() -> dict[str, Any]:
    """The properties of the machine and the versions that the times depend on.

    A load above zero at the start means that other programs were running.
    """
    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "processor": processor(),
        **{key: os.environ.get(key, "default") for key in WAITING},
        "python": platform.python_version(),
        **{name: installed_version(name) for name in COMPARED},
    }


def processor() -> str:
    """The name of the processor, or its architecture when the system does not provide the name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def installed_version(name: str) -> str | None:
    """The version of a package. None when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def show(comparisons: Mapping[str, Sequence[Row]], facts: Mapping[str, Any]) -> None:
    """Prints all comparisons as one table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 180)
    table = Table(*HEAD, box=None, padding=(0, 1), header_style="bold")
    for name, rows in comparisons.items():
        table.add_row(f"[bold]{name}[/bold]")
        for row in rows:
            table.add_row(*row.cells(), style={True: "green", False: "bold red", None: ""}[row.meets_target])
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False)


def markdown(comparisons: Mapping[str, Sequence[Row]], facts: Mapping[str, Any]) -> str:
    """All comparisons as Markdown, with one table each."""
    lines = ["# Bench", "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]
    for name, rows in comparisons.items():
        lines += [
            f"## {name}",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *(r.cells() for r in rows))),
            "",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python scripts/bench.py [comparison ...] [repeats=5] [paths.outputs=DIR]`.

    Returns: the exit status. It is 0 even when a target is missed, because times vary.
    """
    ensure()
    keep_pages()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = {"repeats": "5", "paths.outputs": "outputs", **dict(a.split("=", 1) for a in arguments if "=" in a)}
    known, asked = comparisons(), [a for a in arguments if "=" not in a]
    if set(asked) - set(known) or set(options) - {"repeats", "paths.outputs"} or not options["repeats"].isdigit():
        usage = "usage: python scripts/bench.py [comparison ...] [repeats=5] [paths.outputs=DIR]"
        print(f"{usage}\ncomparisons: {', '.join(known)}", file=sys.stderr)
        return 2
    facts, start = machine(), time.perf_counter()
    setting, results = Setting(repeats=max(1, int(options["repeats"]))), {}
    for name in asked or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            results[name] = known[name].compare(setting)
        except ModuleNotFoundError as error:
            print(f"{name}: left out, {error.name} is not installed (make install)", file=sys.stderr)
    facts |= {"seconds": round(time.perf_counter() - start)}
    show(results, facts)
    folder = Path(options["paths.outputs"], "bench")
    write_text(folder / "bench.md", markdown(results, facts))
    record = {"machine": facts, "rows": {name: [row.record() for row in rows] for name, rows in results.items()}}
    write_text(folder / "bench.json", json.dumps(record, indent=1))
    missed = [f"{name}: {row.what}" for name, rows in results.items() for row in rows if row.meets_target is False]
    print("\n".join(["targets missed:", *missed]) if missed else "all targets met")
    print(f"results: {folder}")
    return 0
