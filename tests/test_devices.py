"""A device that is not there is one line that names the key."""

import pytest
import torch

from pomelo_lab.devices import pick_device


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "mps", "xpu", "cudax"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"^device={name}[: ]"):
        pick_device(name)
    assert pick_device("cpu").type == pick_device("auto").type == "cpu"
