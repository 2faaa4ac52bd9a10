"""Digests of the source code of a user's functions, which are part of a result's fingerprint."""

from __future__ import annotations

import ast
import functools
import hashlib
import logging
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from pomelo_lab.config.fingerprint import file_digest

log = logging.getLogger(__name__)

INSTALLED = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")})
# digests of modules at their first use: this process does not run later edits
_imported: dict[str, str] = {}
OURS = Path(__file__).resolve().parents[1]


def code_digest(location: str, key: str) -> str:
    """The digest of the code that defines a user's function, "module:function" or "file.py:function".

    The digest covers the source of the module and of the user's own modules that it imports, at its top or inside
    functions. A module of this package is represented by its name. A module without source code (built in, compiled or
    typed into an interactive session) is represented by its name too, and a warning is logged. The digest does not
    cover weights, services and installed packages that the function uses. The argument `version` stands for them.

    Args: location: a module that was imported, or a path that ends in .py. key: the config key, for the warning.
    """
    if location.partition(".")[0] == "pomelo_lab":
        return location
    file = (
        Path(location).expanduser()
        if location.endswith(".py")
        else Path(getattr(sys.modules.get(location), "__file__", None) or "")
    )
    if file.suffix != ".py" or not file.is_file():
        say_once(
            f"{key}: the source of {location} cannot be read, so that edits are not noticed: change `version` when "
            f"its answers change"
        )
        return location
    digests = [
        file_digest(file),
        *(f"{name} {file_digest(path)}" for name, path in sorted(find_imports(file.resolve(), location))),
    ]
    now = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    first = now if location.endswith(".py") else _imported.setdefault(location, now)
    if first != now:
        say_once(
            f"{key}: {location} was edited after this process imported it: the code as it was imported is used, a "
            f"new process uses the new"
        )
    return first


def find_imports(file: Path, name: str) -> set[tuple[str, Path]]:
    """The user's own modules that a source file imports, directly or indirectly, each with its file.

    The source file itself is not among them.
    """
    package = "" if name.endswith(".py") else name if file.name == "__init__.py" else name.rpartition(".")[0]
    modules, open_files = set(), [(file, package)]
    while open_files:
        for name in names_of_imports(*open_files.pop()):
            for part, path in sources(name):
                if path != file and (part, path) not in modules:
                    modules.add((part, path))
                    open_files.append((path, part if path.name == "__init__.py" else part.rpartition(".")[0]))
    return modules


def names_of_imports(file: Path, package: str) -> Iterator[str]:
    """The absolute names that a source file imports: modules, and functions or classes inside modules."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def sources(name: str) -> Iterator[tuple[str, Path]]:
    """(module, file) of each part of a dotted name that is a module of the user. Nothing is imported."""
    folders, parts = None, name.split(".")
    for n in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:n]), folders)
        except (ImportError, ValueError, AttributeError):
            return
        if spec is None or (spec.origin and not own(Path(spec.origin).resolve())):
            return
        if spec.origin and spec.origin.endswith(".py"):
            yield ".".join(parts[:n]), Path(spec.origin).resolve()
        if spec.submodule_search_locations is None:
            return
        folders = list(spec.submodule_search_locations)


def own(file: Path) -> bool:
    """Whether a file belongs to the user: it is neither installed nor part of this package."""
    return not any(file.is_relative_to(folder) for folder in (*INSTALLED, OURS))


@functools.cache
def say_once(text: str) -> None:
    """Logs a warning once per process."""
    log.warning("%s", text)
