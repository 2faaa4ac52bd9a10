"""What is imported is declared in pyproject.toml, and what is declared is imported: a clean install runs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"pomelo_lab", "scripts", "tests"}
OTHER_NAMES = {
    "pillow": "PIL",
    "hydra-core": "hydra",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "umap-learn": "umap",
    "pyyaml": "yaml",
}
# commands, and plugins that Hydra finds
# what commands or other packages use: torch's exporter imports onnx
TOOLS = {
    "ruff",
    "build",
    "pytest-xdist",
    "mkdocs-material",
    "onnx",
    "hydra-joblib-launcher",
    "hydra-submitit-launcher",
    "hydra-ray-launcher",
}


def imported(folder: str) -> set[str]:
    """Top-level modules that the files of a folder import anywhere, also inside functions and by
    pytest.importorskip."""
    modules = set()
    for node in (node for path in (ROOT / folder).rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") == "importorskip"
            and isinstance(node.args[0], ast.Constant)
        ):
            modules.add(node.args[0].value)
    return {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - OWN


def names(requirements: list[str]) -> set[str]:
    """The distributions of a list of requirements, without versions and extras."""
    return {re.match(r"[A-Za-z0-9._-]+", text)[0].lower() for text in requirements}


def modules(distributions: set[str]) -> set[str]:
    """The modules that distributions are imported as."""
    return {OTHER_NAMES.get(name, name.replace("-", "_")) for name in distributions}


EXTRAS = names([text for extra in PROJECT["optional-dependencies"].values() for text in extra])


def test_what_the_package_imports_is_declared():
    # the benchmarks compare with packages, a runtime uses one, and networks made elsewhere need theirs
    extras = (PROJECT["optional-dependencies"][extra] for extra in ("parity", "onnx", "timm", "huggingface"))
    optional = modules(names([text for extra in extras for text in extra]))
    assert imported("pomelo_lab") | imported("scripts") <= modules(names(PROJECT["dependencies"])) | optional


def test_what_the_tests_import_is_declared():
    assert imported("tests") <= modules(names(PROJECT["dependencies"]) | EXTRAS)


def test_what_is_declared_is_used():
    package, tests = imported("pomelo_lab") | imported("scripts"), imported("tests")
    assert modules(names(PROJECT["dependencies"])) <= package
    assert modules(EXTRAS - TOOLS) <= package | tests


def test_distributions_give_the_modules_that_this_test_takes_them_for():
    given = packages_distributions()
    for distribution, module in OTHER_NAMES.items():
        assert distribution in {name.lower() for name in given[module]}
