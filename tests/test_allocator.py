"""The allocator's settings leave results alone, and a C library without them."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from pomelo_lab import allocator
from pomelo_lab.allocator import PARAMETERS, keep_pages
from tests.running import ROOT

REUSE = """
import resource, torch
from pomelo_lab.allocator import keep_pages
torch.set_num_threads(1)
keep_pages()
def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(40))
"""


def test_blocks_of_64_mb_reuse_pages():
    """Forty such blocks, one after another, have 655,360 pages where each is mapped anew."""
    if not keep_pages():
        pytest.skip("the C library has no mallopt, or the environment sets it")
    ran = subprocess.run([sys.executable, "-c", REUSE], cwd=ROOT, text=True, capture_output=True, check=True)
    assert int(ran.stdout) < 655_360 / 2


def test_the_users_settings_stay(monkeypatch):
    for name in PARAMETERS:
        monkeypatch.setenv(name, "1000000")
    assert keep_pages() == {}


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert keep_pages() == {}
    assert allocator.MOST < 2**31  # a C int
