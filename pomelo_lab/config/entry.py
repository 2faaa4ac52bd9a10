"""How commands find their conf folder, and how they end."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_checkout = Path(__file__).resolve().parents[2]
_is_checkout = (_checkout / "conf" / "run.yaml").exists()
# an installed wheel has it inside
CONF = str(_checkout / "conf" if _is_checkout else Path(__file__).resolve().parents[1] / "conf")

# paths.root of conf/paths: the checkout, wherever a command is started; for an installed wheel the folder it is started
# in
os.environ.setdefault("POMELO_ROOT", str(_checkout if _is_checkout else Path.cwd()))


class WithoutAdvice:
    """A stream without what Hydra puts above the lines that help: its advice on HYDRA_FULL_ERROR, and lists of all
    choices and config folders."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.lists = ""  # those that were left out

    def write(self, text: str) -> int:
        if "HYDRA_FULL_ERROR=1 for a complete stack trace" in text:
            return len(text)
        said, mark, rest = text.partition("\n\nAvailable options in ")
        self.lists += mark + rest
        self.stream.write(said + "\n" if mark else said)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def command(main: Callable[[], None], config_name: str = "run", kept: Callable[[], str] = str) -> None:
    """Run a Hydra main; when it ends with an error, the last lines are those that help. Modules of the current folder
    can be imported.

    Args: kept: what an interrupted command has kept, in words.
    """
    from pomelo_lab.config.suggest import refused, suggestions
    from pomelo_lab.config.suites import without_repeats

    if text := refused(sys.argv[1:]):
        sys.exit(text)
    sys.argv[1:] = renamed(without_repeats(sys.argv[1:]))
    # `python -m` puts it first, an installed command does not
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    stream, sys.stderr = sys.stderr, WithoutAdvice(sys.stderr)
    try:
        main()
    except KeyboardInterrupt:
        print(f"\nstopped: {kept()}\nthe same command continues there", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stop:
        if stop.code:
            lines = suggestions(stop.__context__, sys.argv[1:], config_name)
            print(
                "\n".join(lines) or sys.stderr.lists.strip(), file=stream, end="\n" if lines or sys.stderr.lists else ""
            )
        raise
    finally:
        sys.stderr = stream


def renamed(arguments: Sequence[str]) -> list[str]:
    """Arguments with the present names of config groups: conf/method was conf/row."""
    return [re.sub(r"^(\+{0,2}|~)row(?=[=@]|$)", r"\1method", text) for text in arguments]


def config_folders(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The config folders that a command line names beside ours (`--config-dir DIR`, `-cd DIR`), and its other
    arguments."""
    folders, rest, words = [], [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in ("--config-dir", "-cd"):
            folders.append(str(Path(value if equals else next(words, "")).resolve()))
        else:
            rest.append(word)
    return folders, rest


def file_content(path: str) -> dict[str, Any] | None:
    """The content of conf/<path>.yaml with that of the files of its group that it extends, as Hydra composes them.

    Components of other groups that its defaults list chooses are left out. None where there is no such file.
    """
    import yaml

    file = Path(CONF, f"{path}.yaml")
    if not file.is_file():
        return None
    content = yaml.safe_load(file.read_text()) or {}
    base: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base |= file_content(f"{path.rpartition('/')[0]}/{entry.partition('@')[0]}") or {}
    return base | content


def search_path(folders: Sequence[str]) -> list[str]:
    """The override that adds config folders; nothing for none."""
    return [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
