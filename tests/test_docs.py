"""Commands that the documentation prints are commands that the config knows."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.schema import register

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python -m pomelo_lab\.(run|train) ((?:[^`\n\\]|\\\n)*)")
# for the reader to fill in, choices to choose from, or files of the reader's own
PLACEHOLDER = re.compile(r"<|\bFILE\b|--config-dir|\||\$\(")


def printed(text):
    """(config name, overrides) of every command on a page: to the end of its line, continued after a backslash, or to
    the closing backtick. Comments, flags and settings of Hydra's launchers, which need plugins, are left out; of a grid
    the first value of each list is taken."""
    for name, rest in COMMAND.findall(text):
        if PLACEHOLDER.search(rest.partition("  #")[0].partition(" # ")[0]):
            continue
        words = shlex.split(rest.replace("\\\n", " "), comments=True)
        yield name, [first(word) for word in words if "=" in word and not word.lstrip("+").startswith(("-", "hydra"))]


def first(word):
    """a=b,c -> a=b; lists in brackets stay."""
    key, _, value = word.partition("=")
    return f"{key}={value if value.startswith('[') else value.partition(',')[0]}"


@pytest.fixture(scope="module")
def config():
    import pomelo_lab.train  # noqa: F401 (its schema)

    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        yield lambda name, overrides: compose(name, overrides=overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_compose(page, config):
    wrong = {}
    for name, overrides in dict.fromkeys((name, tuple(overrides)) for name, overrides in printed(page.read_text())):
        try:
            config(name, list(overrides))
        except Exception as error:
            wrong[f"{name} {' '.join(overrides)}"] = str(error).splitlines()[0]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_python_blocks_run(page):
    """Those of docs/how-to are files, which test_how_to.py writes and tries."""
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(code, str(page), "exec"), {})  # noqa: S102 (the page's own code)


def test_what_counts_as_a_command():
    text = """`python -m pomelo_lab.run -m experiment=a seed=0,1 x=[1,2]` and
python -m pomelo_lab.train classifier=b \\
    recipe.epochs=1 hydra/launcher=joblib   # said
python -m pomelo_lab.run experiment=<preset>
"""
    assert list(printed(text)) == [
        ("run", ["experiment=a", "seed=0", "x=[1,2]"]),
        ("train", ["classifier=b", "recipe.epochs=1"]),
    ]
    assert sum(len(list(printed(page.read_text()))) for page in PAGES) > 15
