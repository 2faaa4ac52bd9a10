"""Commands are named as the reader can type them."""

import pytest

from pomelo_lab.config import entry


@pytest.mark.parametrize(("is_checkout", "command"), [(True, "python scripts/table.py"), (False, "pomelo-lab table")])
def test_a_wheel_without_scripts_names_the_word_instead(monkeypatch, is_checkout, command):
    monkeypatch.setattr(entry, "_is_checkout", is_checkout)
    assert entry.script_command("table") == command
