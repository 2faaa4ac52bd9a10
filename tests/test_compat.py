"""`import torchvision` works after ensure(), whether or not its compiled operators load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BROKEN = """
import torch
def refuse(path): raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = refuse
"""
USE = """
from pomelo_lab.compat import ensure
works = ensure()
assert ensure() is works
import torch, torchvision
from torchvision.transforms.v2 import functional
torchvision.models.squeezenet1_0(weights=None)
print(works, torch._C._dispatch_has_kernel("torchvision::nms"))
"""


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_here():
    assert run(USE).returncode == 0


def test_with_operators_that_cannot_load():
    done = run(BROKEN + USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "True"]


def test_without_torchvision():
    hidden = (
        "import importlib.util as u; find = u.find_spec\nu.find_spec = lambda n, *a: None if n == 'torchvision' "
        "else find(n, *a)\n"
    )
    done = run(hidden + "from pomelo_lab.compat import ensure; print(ensure())")
    assert done.stdout.strip() == "False", done.stderr
