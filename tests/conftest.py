"""Shared fixtures: a device option, float64-free determinism, and outputs that never leave the test's folder."""

from __future__ import annotations

import pytest
import torch

from pomelo_lab.classifier.torchvision_ops import ensure

ensure()  # before anything imports lightning or torchmetrics


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the tests' networks run")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def _untouched_global_rng():
    """No component may draw from torch's global generator."""
    before = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(before)
