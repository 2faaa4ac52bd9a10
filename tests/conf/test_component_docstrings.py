"""A component's docstring has the sections of the house, in their order, and names every argument of its own."""

import inspect
import re

import pytest

from pomelo_lab.config.signature import locate, parameters
from tests.conf.test_component_yamls import FILES, composed

ROLES = ("segmenter", "classifier", "generator", "sampler")
SECTIONS = ("Source", "Departures", "Args", "Shapes", "Cost", "Random", "Raises")
OPTIONAL = {"Args", "Raises"}
COMPONENTS = {composed(path)["_target_"] for path in FILES if path.parent.name in ROLES}


@pytest.mark.parametrize("path", sorted(COMPONENTS))
def test_a_docstring_has_its_sections_in_order(path):
    text = inspect.getdoc(locate(path))
    sections = [name for name in re.findall(r"\b([A-Z][a-z]+):", text) if name in SECTIONS]
    assert sections == [name for name in SECTIONS if name in sections]
    assert set(SECTIONS) - OPTIONAL <= set(sections)


@pytest.mark.parametrize("path", sorted(COMPONENTS))
def test_a_docstring_names_every_argument_of_its_class(path):
    target = locate(path)
    own = {name for name in vars(target).get("__annotations__", {}) if name in parameters(target)}
    inherited = {name for base in target.__mro__[1:] for name in vars(base).get("__annotations__", {})}
    assert not [name for name in own - inherited if not re.search(rf"\b{name}\b", inspect.getdoc(target))]
