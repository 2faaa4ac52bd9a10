"""Commands that the documentation prints are commands that the config knows."""

import re
import shlex
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.schema import register

ROOT = Path(__file__).resolve().parents[1]
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted(set((ROOT / "docs").rglob("*.md")) - set(HOW_TO))]
COMMAND = re.compile(r"(?:python -m pomelo_lab\.|pomelo-lab )(run|train) ((?:[^`\n\\]|\\\n)*)")
# for the reader to fill in, choices to choose from, or files of the reader's own (test_how_to.py tries those)
PLACEHOLDER = re.compile(r"<|--config-dir|\||\$\(")


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
    """(config name, overrides) -> the checked config of a command."""
    from pomelo_lab.config.check import validate
    from pomelo_lab.train import validate_training

    checked = {"run": validate, "train": validate_training}
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        yield lambda name, overrides: checked[name](compose(name, overrides=overrides))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_are_right(page, config):
    wrong = {}
    for name, overrides in dict.fromkeys((name, tuple(overrides)) for name, overrides in printed(page.read_text())):
        try:
            config(name, list(overrides))
        except Exception as error:
            wrong[f"{name} {' '.join(overrides)}"] = str(error).splitlines()[0]
    assert not wrong


@pytest.mark.parametrize("page", [*PAGES, *HOW_TO], ids=lambda p: p.stem)
def test_targets_scripts_and_modules_exist(page):
    """What is typed beside `pomelo_lab.run` and `pomelo_lab.train`."""
    makefile, text = (ROOT / "Makefile").read_text(), page.read_text()
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in re.findall(r"\bscripts/\w+\.py", text):
        assert (ROOT / script).is_file(), script
    for name in re.findall(r"python -m (pomelo_lab(?:\.\w+)*)", text):
        assert find_spec(name), name
    for table in re.findall(r"(?:make \w+ T=|scripts/(?:table|status)\.py )(\w+)", text):
        assert Path(CONF, "experiment", f"{table}.yaml").is_file(), table


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_choices_of_a_grid_exist(page):
    """The first of a=b,c composes; b and c are files."""
    for key, values in re.findall(r"\s([a-z]+)=(\w+(?:,\w+)+)(?=[\s`])", page.read_text()):
        if Path(CONF, key).is_dir():
            missing = [value for value in values.split(",") if not Path(CONF, key, f"{value}.yaml").is_file()]
            assert not missing, (key, missing)


@pytest.fixture(scope="module")
def reference():
    """The script that writes the reference pages."""
    spec = spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_reference_pages_are_those_that_the_script_writes(reference):
    """Every choice of conf is on them."""
    for name, page in reference.pages().items():
        assert (ROOT / "docs" / f"{name}.md").read_text() == page, "python scripts/reference.py writes it again"
        listed = set(re.findall(r"`(\w+)`", page))
        groups = {"components": [*reference.ROLES, "metrics"], "presets": ["experiment"]}.get(name, [])
        choices = {file.stem for group in groups for file in Path(CONF, group).glob("*.yaml")}
        assert choices - listed <= {"none"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Sizes of 3.5 px. Add dataset=x", "Sizes of 3.5 px."),
        ("Table 1 of A. Nguyen (Fig. 8): classes. More.", "Table 1 of A. Nguyen (Fig. 8): classes."),
        ("Rows of CelebA: add dataset.root=x", "Rows of CelebA."),
        ("LPIPS by weights path:", "LPIPS by weights path."),
        ("No full stop", "No full stop"),
    ],
)
def test_first_sentence(text, said, reference):
    assert reference.first_sentence(text) == said


@pytest.mark.parametrize("page", [*PAGES, *HOW_TO], ids=lambda p: p.stem)
def test_lines_are_short_and_links_lead_somewhere(page):
    """A link to a heading of another page is checked by `make docs`."""
    text = page.read_text()
    assert not [line for line in text.splitlines() if len(line) > 200]
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


def test_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10_000


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
