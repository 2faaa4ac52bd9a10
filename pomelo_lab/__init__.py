"""pomelo_lab: explain image classifiers with generative perturbations."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomelo_lab.api import configured, explain

# Before torch loads its OpenMP: threads that wait for each other soon sleep instead of spinning. Two jobs that share
# the cores would
# otherwise stand still in each other's way (measured: a hundred times slower); alone the difference is small.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
__all__ = ["configured", "explain", "run"]  # `run` is the module, which can be called


def __getattr__(name: str) -> Any:
    """`pl.explain`, `pl.configured` and `pl.run` are imported at their first use, so that this package is instant."""
    if name in __all__:
        from importlib import import_module

        return import_module("pomelo_lab.run") if name == "run" else getattr(import_module("pomelo_lab.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
