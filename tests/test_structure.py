"""The house rules that code alone cannot keep: imports run one way and in no circle, every component, metric and figure
is configured and tested, files and lines are short, wandb has one door."""

from __future__ import annotations

import abc
import ast
import dataclasses
import importlib
import inspect
import re
import tomllib
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest

from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.signature import Component

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pomelo_lab"
# folders and top-level modules, from the ground up: each imports only from those before it
FLOORS = (
    *("pomelo_lab", "plugins", "compat", "cost", "types", "files", "philox", "batching", "throughput", "locks"),
    *("allocator", "devices", "image_arithmetic"),
    *("config", "dataset", "segmenter", "weights", "runtime", "network", "classifier", "generator", "training"),
    *("sampler", "explainer", "metric", "engine", "results", "export", "html_report", "tracking", "held", "api"),
    *("run", "train", "bench", "conformance", "demo", "__main__"),
)
COMPONENT_FOLDERS = (*ROLES, "metric")
LONGEST, WIDEST = 350, 120  # lines of a file, columns of a line

FILES = sorted(p for p in PACKAGE.rglob("*.py") if "conf" not in p.relative_to(PACKAGE).parts)
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
PYTHON = [*FILES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "scripts").glob("*.py"))]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """A source file, parsed once."""
    return ast.parse(path.read_text())


def import_statements(source: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """(module, names taken from it) of each import, at the top or inside functions, outside `if TYPE_CHECKING`."""
    blocks = [b for b in ast.walk(source) if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.dump(b.test)]
    typing_only = {id(node) for block in blocks for node in ast.walk(block)}
    for node in ast.walk(source):
        if isinstance(node, ast.Import) and id(node) not in typing_only:
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing_only:
            yield node.module, [alias.name for alias in node.names]


def imports(path: Path) -> set[str]:
    """Modules that a file imports, and the names that it takes from them."""
    statements = import_statements(tree(path))
    return {name for source, taken in statements for name in (source, *(f"{source}.{t}" for t in taken))}


def module(path: Path) -> str:
    """The dotted name of a file of the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor(name: str) -> str:
    """The folder or top-level module that a module belongs to."""
    return (name.split(".") + ["pomelo_lab"])[1]


@cache
def graph() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports."""
    names = {module(path): path for path in FILES}
    return {name: package_imports(tree(path), names.keys()) - {name} for name, path in names.items()}


def package_imports(source: ast.Module, names: Collection[str]) -> set[str]:
    """The modules among `names` that a file imports.

    `from package import module` imports the module. It imports the package too if one of the names is not a module.
    """
    arrows = set()
    for imported, taken in import_statements(source):
        modules = {f"{imported}.{name}" for name in taken} & set(names)
        arrows |= modules | ({imported} & set(names) if not taken or len(modules) < len(taken) else set())
    return arrows


def test_a_package_is_imported_for_what_is_no_module_of_it():
    names = {"p", "p.a", "p.b"}
    assert package_imports(ast.parse("from p import a, b"), names) == {"p.a", "p.b"}
    assert package_imports(ast.parse("def f():\n    from p import a, VALUE"), names) == {"p", "p.a"}
    assert package_imports(ast.parse("from p import VALUE\nfrom p.a import VALUE"), names) == {"p", "p.a"}
    assert package_imports(ast.parse("import p.a, os\nif TYPE_CHECKING:\n    import p.b"), names) == {"p.a"}


def reached(start: str) -> set[str]:
    """The modules that a module imports, directly or not."""
    seen, open_modules = set(), [start]
    while open_modules:
        for name in graph()[open_modules.pop()] - seen:
            seen.add(name)
            open_modules.append(name)
    return seen


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_arrow_points_upwards(path):
    """Imports inside functions count too: they hide an order, they do not change it."""
    name = module(path)
    wrong = {imported for imported in graph()[name] if FLOORS.index(floor(imported)) > FLOORS.index(floor(name))}
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    circles = {frozenset(m for m in reached(name) if name in reached(m)) for name in graph() if name in reached(name)}
    assert not circles


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_tracking_imports_wandb_and_heavy_imports_are_local(path):
    top = {n.name for s in tree(path).body if isinstance(s, ast.Import) for n in s.names}
    top |= {s.module for s in tree(path).body if isinstance(s, ast.ImportFrom) and s.module}
    heavy = {
        *("wandb", "lightning", "torchmetrics", "diffusers", "umap", "skimage"),
        *("sklearn", "matplotlib", "captum", "torchvision"),
    }
    assert not {m for m in top if m.split(".")[0] in heavy}
    if "tracking" not in path.parts:
        assert not {m for m in imports(path) if m.split(".")[0] == "wandb"}


def components() -> Iterator[tuple[str, Path]]:
    """Files that define a component: a concrete class of their own that a config can name."""
    for folder in COMPONENT_FOLDERS:
        for path in sorted((PACKAGE / folder).glob("*.py")):
            if path.stem == "__init__":
                continue
            members = vars(importlib.import_module(module(path))).values()
            if any(inspect.isclass(c) and c.__module__ == module(path) and concrete(c) for c in members):
                yield folder, path


def concrete(c: type) -> bool:
    """Whether a config can name the class: it is a component, and no base or part of others."""
    abstract = inspect.isabstract(c) or abc.ABC in c.__bases__
    return issubclass(c, Component) and not abstract and dataclasses.is_dataclass(c)


@pytest.mark.parametrize(("folder", "path"), list(components()), ids=lambda v: getattr(v, "stem", v))
def test_every_component_has_a_yaml_and_a_test(folder, path):
    # a part of components stands in their shared/
    targets = [p.read_text() for p in (ROOT / "conf" / folder).rglob("*.yaml")]
    assert any(f"pomelo_lab.{folder}.{path.stem}." in text for text in targets), (
        f"no conf/{folder}/*.yaml names {path.stem}"
    )
    assert (ROOT / "tests" / folder / f"test_{path.stem}.py").exists()


def figures() -> list[str]:
    """Modules of results/figure that draw one."""
    draws = [p for p in (PACKAGE / "results" / "figure").glob("*.py") if p.stem != "dispatch"]
    return sorted(p.stem for p in draws if any(getattr(n, "name", "") == "draw" for n in tree(p).body))


def test_every_figure_is_asked_for_by_a_report_and_drawn_by_a_test():
    from tests.results.figure.test_dispatch import LIVE, MODULES

    asked = "\n".join(p.read_text() for p in (PACKAGE / "results" / "reports").glob("*.yaml"))
    assert [name for name in figures() if not re.search(rf"figure: {name}\b", asked)] == []
    assert set(figures()) <= {*MODULES, *LIVE}


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_a_test_file_tests(path):
    """Each test of it does something, and what it tests exists."""
    tests = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    assert tests
    assert [n.name for n in tests if all(is_nothing(statement) for statement in n.body)] == []


def is_nothing(statement: ast.stmt) -> bool:
    """A docstring, `pass`, `...` or `assert True`."""
    tested = statement.test if isinstance(statement, ast.Assert) else getattr(statement, "value", None)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, (ast.Expr, ast.Assert)) and isinstance(tested, ast.Constant)
    )


def test_nothing_counts_as_nothing():
    body = ast.parse("'''Text.'''\n...\npass\nassert True\nassert x\nrun()").body
    assert [is_nothing(statement) for statement in body] == [True] * 4 + [False] * 2


def test_files_and_lines_are_short():
    lines = {relative(path): path.read_text().splitlines() for path in PYTHON}
    long = {name for name, text in lines.items() if len(text) > LONGEST}
    assert not long
    # a comment that ruff is told to leave alone
    wide = [f"{name}:{i}" for name, text in lines.items() for i, t in enumerate(text, 1) if too_wide(t)]
    assert not wide


def too_wide(line: str) -> bool:
    return len(line) > WIDEST and "# noqa" not in line


def test_lines_of_configs_and_pages_are_short():
    """Tables and fenced blocks of a Markdown page may be wider, because they cannot be wrapped."""
    configs = [p for top in ("conf", "pomelo_lab/results/reports") for p in (ROOT / top).rglob("*.yaml")]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    lines = {path: path.read_text().splitlines() for path in configs} | {path: prose(path) for path in pages}
    assert not [f"{relative(path)}: {line}" for path, text in lines.items() for line in text if len(line) > WIDEST]


def prose(page: Path) -> list[str]:
    """The lines of a Markdown page outside tables and fenced blocks."""
    parts = page.read_text().split("```")[::2]
    return [line for part in parts for line in part.splitlines() if not line.lstrip().startswith("|")]


def test_functions_take_few_parameters():
    """At most six beside self, outside constructors."""
    many = {path.relative_to(PACKAGE).as_posix() for path in FILES if any(parameters(n) > 6 for n in functions(path))}
    assert not many


def functions(path: Path) -> list[ast.FunctionDef]:
    """The functions and methods of a file but for constructors."""
    return [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef) and n.name != "__init__"]


def parameters(function: ast.FunctionDef) -> int:
    """Named parameters beside self or cls."""
    named = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")])


def test_functions_are_not_complex():
    """Ruff holds every function to a complexity of ten, and every line to its columns."""
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert {"C90", "PLR0913"} <= {*ruff["lint"]["select"]}
    assert ruff["lint"]["mccabe"]["max-complexity"] == 10 and ruff["lint"]["pylint"]["max-args"] == 6
    assert ruff["line-length"] == WIDEST


def test_papers_have_names():
    """A paper is its authors or its method; a number is its place in a folder that no reader has."""
    pages = [
        p
        for top in ("pomelo_lab", "conf", "docs", "scripts", "tests")
        for p in (ROOT / top).rglob("*")
        if p.suffix in (".py", ".yaml", ".md")
    ]
    numbered = re.compile(r"\bpapers? 00\d|\b00\d and 00\d\b", re.IGNORECASE)
    assert not [relative(p) for p in (*pages, ROOT / "README.md") if numbered.search(p.read_text())]
