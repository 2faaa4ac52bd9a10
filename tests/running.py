"""Runs of whole jobs for tests: tiny images, an untrained classifier, nothing tracked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "dataset=digits",
    "dataset.size_px=16",
    "classifier.weights=null",
    "segmenter=grid",
    "segmenter.n_segments=16",
    "scale=smoke",
    "metrics=fidelity",
    "tracking=none",
)


def config(outputs: Path, *overrides: str, base: Sequence[str] = TINY) -> dict[str, Any]:
    """A checked config of a tiny job."""
    from hydra import compose, initialize_config_dir

    from pomelo_lab.config.check import validate
    from pomelo_lab.config.entry import CONF
    from pomelo_lab.config.schema import register

    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        return validate(compose("run", overrides=[*base, f"paths.outputs={outputs}", *overrides]))


def command(outputs: Path, *overrides: str, tiny: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """`python -m pomelo_lab.run` as a user types it."""
    first = next((i for i, text in enumerate(overrides) if "=" in text and not text.startswith("-")), len(overrides))
    flags, rest = overrides[:first], overrides[first:]  # Hydra wants its flags before the overrides
    arguments = [*flags, *(TINY if tiny else ()), f"paths.outputs={outputs}", *rest]
    return subprocess.run(
        [sys.executable, "-m", "pomelo_lab.run", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def scores(folder: Path) -> dict[str, list[Any]]:
    """Columns of a score folder."""
    return pq.read_table(folder / "scores.parquet").to_pydict()


def all_scores(outputs: Path) -> dict[str, dict[str, list[Any]]]:
    """Columns of every score folder, by fingerprint."""
    return {path.parent.name: scores(path.parent) for path in sorted((outputs / "score").glob("*/scores.parquet"))}
