"""Shared fixtures: a device option, float64-free determinism, and outputs that never leave the test's folder."""

from __future__ import annotations

import pytest
import torch

from pomelo_lab.compat import ensure

ensure()  # before anything imports lightning or torchmetrics


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the tests' networks run")
    parser.addoption("--seed", type=int, default=0, help="of the networks that tests build without a seed of their own")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Digests of files that tests make are not remembered for the user."""
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _own_global_rng(request: pytest.FixtureRequest):
    """Each test begins with torch's generator in the same state, alone or after others, and leaves none of its own."""
    before = torch.random.get_rng_state()
    torch.manual_seed(request.config.getoption("--seed"))
    yield
    torch.random.set_rng_state(before)
