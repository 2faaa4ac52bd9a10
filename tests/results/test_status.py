import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from pomelo_lab.config.entry import CONF
from pomelo_lab.results import show, status
from tests.results.fake import FakeCell


def test_running_without_a_lock_holder_is_interrupted(tmp_path):
    cell = FakeCell({"sampler": "black"}, state="running", folder=tmp_path)
    assert status.state(cell) == "interrupted"
    lock = FileLock(tmp_path / ".lock")
    with lock:
        assert status.state(cell) == "running"


def test_failure_is_told_by_its_last_line():
    error = (
        "Traceback (most recent call last):\n  File x, line 1\n    boom()\nValueError: sampler.sigma_px must be > "
        "0, got -1\n"
    )
    assert (
        status.detail(FakeCell({}, state="failed", status={"error": error}))
        == "ValueError: sampler.sigma_px must be > 0, got -1"
    )


def test_show_lists_every_job_and_the_command(monkeypatch, capsys):
    cells = [
        FakeCell({}, state="missing", point={"sampler": "black"}),
        FakeCell({}, state="failed", point={"sampler": "gray"}),
    ]
    monkeypatch.setattr("pomelo_lab.results.grid.cells", lambda *a: cells)
    assert not status.show("pomelo_table1", ["scale=smoke"])
    text = capsys.readouterr().out
    assert (
        "1 failed, 1 missing" in text and "-m experiment=pomelo_table1 scale=smoke" in text and "sampler=black" in text
    )


@pytest.mark.parametrize("module", [status, show])
def test_missing_cells_are_an_answer_and_no_error(module, monkeypatch):
    """`make table` and `make status` ended in "Error 1" wherever a cell was missing, as if they had crashed."""
    monkeypatch.setattr(module, "show", lambda *_, **__: None)
    assert module.main(["pomelo_table1"]) == 0 and module.main(["--nothing"]) == 2


@pytest.mark.parametrize("command", ["status", "table", "demo", "sync"])
def test_options_that_do_not_exist_are_named_or_show_the_usage(command):
    arguments = ["pomelo_table1", "--nothing"] if command in ("status", "table") else ["--nothing"]
    done = subprocess.run(
        [sys.executable, f"scripts/{command}.py", *arguments],
        cwd=Path(CONF).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "--nothing is unknown" if command == "table" else f"usage: python scripts/{command}.py"
    assert done.returncode and not done.stdout and done.stderr.startswith(expected)


def test_escape_sequences_of_a_status_file_are_escaped():
    from types import SimpleNamespace

    from pomelo_lab.results.status import detail, state

    cell = SimpleNamespace(state="\x1b[31mdone", lacks="", error=None, status={"error": "ValueError: \x1b]0;title\x07"})
    assert "\x1b" not in state(cell) + detail(cell) and detail(cell).startswith("ValueError: \\x1b]0;title")
