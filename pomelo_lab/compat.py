"""Makes `import torchvision` work where its compiled operators cannot load.

A torchvision wheel that was built for CUDA or for another torch version cannot load its `_C` library.
torchvision then fails on import with "operator torchvision::nms does not exist", and Lightning and torchmetrics, which
import it, fail with it. The model zoo and the transforms are pure Python and need only the *schemas* of two operators.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def ensure() -> bool:
    """Make `import torchvision` work; True when torchvision's compiled operators work.

    Call it before the first import of torchvision, torchmetrics or lightning. It loads the compiled library, as
    torchvision does. If that fails, it defines the schemas of the operators. Calling such an operator still fails,
    because it has no kernel. Without torchvision it does nothing.
    """
    warnings.filterwarnings("ignore", message="Failed to load image Python extension")
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    if is_defined("nms"):
        return True
    for library in sorted(Path(spec.origin).parent.glob("_C*")):
        try:
            torch.ops.load_library(str(library))
        except (OSError, RuntimeError):
            continue
        if is_defined("nms"):
            return True
    missing = [schema for name, schema in SCHEMAS.items() if not is_defined(name)]
    if missing:
        fragment = torch.library.Library("torchvision", "FRAGMENT")
        for schema in missing:
            fragment.define(schema)
        _kept.append(fragment)
    return False


_kept: list[torch.library.Library] = []  # a Library takes its definitions back when it is collected


def is_defined(name: str) -> bool:
    """Whether an operator `torchvision::<name>` has a schema."""
    return torch._C._dispatch_has_kernel(f"torchvision::{name}")
