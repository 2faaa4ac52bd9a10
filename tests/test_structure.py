"""The house rules that code alone cannot keep: imports run one way, every component has a yaml and a test, wandb has
one door."""

from __future__ import annotations

import abc
import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

from pomelo_lab.config.signature import Component

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pomelo_lab"
STAGES = (
    "dataset",
    "classifier",
    "segmenter",
    "generator",
    "sampler",
    "explainer",
    "metric",
    "engine",
    "results",
    "tracking",
)
COMPONENT_FOLDERS = ("dataset", "classifier", "segmenter", "generator", "sampler", "explainer", "metric")


def imports(path: Path) -> set[str]:
    """Modules that a file imports, outside `if TYPE_CHECKING` blocks."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(n)
        for b in ast.walk(tree)
        if isinstance(b, ast.If) and "TYPE_CHECKING" in ast.dump(b.test)
        for n in ast.walk(b)
    }
    modules = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "conf" not in p.parts)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name in STAGES], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_a_stage_imports_only_from_stages_to_its_left(path):
    stage = path.relative_to(PACKAGE).parts[0]
    right = STAGES[STAGES.index(stage) + 1 :]
    wrong = {m for m in imports(path) for s in right if m.startswith(f"pomelo_lab.{s}")}
    assert not wrong


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if p.parent.name in ("classifier", "generator")],
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_a_network_does_not_import_what_trains_it(path):
    """It names its training by a dotted path, so that a generator is read without Lightning in mind."""
    assert not {module for module in imports(path) if module.startswith("pomelo_lab.train")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_tracking_imports_wandb_and_heavy_imports_are_local(path):
    top = {n.name for s in ast.parse(path.read_text()).body if isinstance(s, ast.Import) for n in s.names}
    top |= {s.module for s in ast.parse(path.read_text()).body if isinstance(s, ast.ImportFrom) and s.module}
    heavy = {
        "wandb",
        "lightning",
        "torchmetrics",
        "diffusers",
        "umap",
        "skimage",
        "sklearn",
        "matplotlib",
        "captum",
        "torchvision",
    }
    assert not {m for m in top if m.split(".")[0] in heavy}
    if "tracking" not in path.parts:
        assert not {m for m in imports(path) if m.split(".")[0] == "wandb"}


def components():
    """Files that define a component: a concrete class of their own that a config can name."""
    for folder in COMPONENT_FOLDERS:
        for path in sorted((PACKAGE / folder).glob("*.py")):
            module = importlib.import_module(f"pomelo_lab.{folder}.{path.stem}") if path.stem != "__init__" else None
            own = (
                [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
                if module
                else []
            )
            if any(concrete(c) for c in own):
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


def test_papers_have_names():
    """A paper is its authors or its method; a number is its place in a folder that no reader has."""
    pages = [
        p
        for top in ("pomelo_lab", "conf", "docs", "scripts", "tests")
        for p in (ROOT / top).rglob("*")
        if p.suffix in (".py", ".yaml", ".md")
    ]
    numbered = re.compile(r"\bpapers? 00\d|\b00\d and 00\d\b", re.IGNORECASE)
    assert not [str(p.relative_to(ROOT)) for p in (*pages, ROOT / "README.md") if numbered.search(p.read_text())]
