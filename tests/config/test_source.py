"""A function is its code: its module's source and that of the user's modules behind it."""

import logging
import sys

import pytest

from pomelo_lab.classifier.callable import CallableClassifier
from pomelo_lab.config import source as module
from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.config.source import code_digest

HEAD = "import torch\nfrom pomelo_lab.types import Batch\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's: its function imports a helper at the top and another one inside."""
    folder = tmp_path / "own_package"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    body = "from .helper import half\ndef predict(images):\n    from own_package.deep import later\n    return half\n"
    (folder / "model.py").write_text(HEAD + body)
    (folder / "helper.py").write_text("half = [[0.5, 0.5]]\n")
    (folder / "deep" / "later.py").write_text("")
    (folder / "unused.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("own_package")]:
        del sys.modules[name]


def digest_in_a_new_process(monkeypatch):
    """As a process finds it that imports the module now."""
    monkeypatch.setattr(module, "_imported", {})
    __import__("own_package.model")
    return code_digest("own_package.model", "classifier.function")


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("model.py", True),
        ("helper.py", True),
        ("deep/later.py", True),
        ("deep/__init__.py", True),
        ("unused.py", False),
    ],
)
def test_an_edit_is_another_digest(package, monkeypatch, file, matters):
    first = digest_in_a_new_process(monkeypatch)
    assert digest_in_a_new_process(monkeypatch) == first
    (package / file).write_text((package / file).read_text() + "# edited\n")
    assert (digest_in_a_new_process(monkeypatch) != first) == matters


def test_a_file_without_modules_of_its_own_is_its_bytes(tmp_path):
    (tmp_path / "one.py").write_text(HEAD + "def f(x): return x\n")
    assert code_digest(str(tmp_path / "one.py"), "classifier.function") == file_digest(tmp_path / "one.py")


def test_code_that_this_process_imported_keeps_its_digest_and_the_edit_is_named(package, monkeypatch, caplog):
    first = digest_in_a_new_process(monkeypatch)
    (package / "helper.py").write_text("half = None\n")
    assert code_digest("own_package.model", "classifier.function") == first
    assert "own_package.model was edited after this process imported it" in caplog.text


@pytest.mark.parametrize("place", ["math", "itertools", "__main__", "torch._C"])
def test_what_has_no_source_says_so_and_goes_by_its_name(place, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))
    module.say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert code_digest(place, "classifier.function") == place
    assert f"the source of {place} cannot be read" in caplog.text and "`version`" in caplog.text


def test_our_own_functions_go_by_their_name():
    assert code_digest("pomelo_lab.sampler.callable", "sampler.function") == "pomelo_lab.sampler.callable"


def test_a_version_may_be_a_number():
    given = {"function": "tests.classifier.test_callable:brightness", "num_classes": 2}
    numbers = [CallableClassifier(**given, version=version).digest() for version in (2, "2", 2.5)]
    assert numbers[0] == numbers[1] != numbers[2] != CallableClassifier(**given).digest()


def test_modules_that_exchange_their_code_are_another_digest(tmp_path, monkeypatch):
    """Each counts under the name by which it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_script.py").write_text(
        "from own_first import a\nfrom own_second import a as b\ndef f(x): return a - b\n"
    )
    digests = []
    for values in ((1, 2), (2, 1)):
        for name, value in zip(("own_first", "own_second"), values, strict=True):
            (tmp_path / f"{name}.py").write_text(f"a = {value}\n")
        digests.append(code_digest(str(tmp_path / "own_script.py"), "classifier.function"))
    assert digests[0] != digests[1]
