"""The pages of docs/how-to: their files, written to a folder outside the repository, keep the rules and run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from pomelo_lab.config.check import validate
from pomelo_lab.config.entry import CONF, config_folders, search_path
from pomelo_lab.config.schema import register
from pomelo_lab.conformance.tiny import tiny_job
from pomelo_lab.engine.plan import plan_steps, sum_steps
from tests.test_docs import HOW_TO, first

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = {  # what the last command of a page prints
    "add-a-sampler": "median",
    "add-a-metric": "mean_shift",
    "add-an-explainer": "mean_patch",
    "add-a-figure": "figure: ",
    "add-a-paper": "blur stays nearer",
}
COSTS = {  # (queries, evaluations) of the dry run that a page prints, counted by hand: 4 images at scale=smoke
    "add-a-sampler": (4 + 4 * 24, 0),
    "add-an-explainer": (4 + 4 * 17, 0),
    "add-a-metric": (4, 0),
}


def blocks(page: Path) -> dict[str, str]:
    """File name -> contents, of the blocks that name their file in the first comments."""
    named = (
        (re.match(r"(?:# @.*\n)?# (\S+\.(?:py|yaml))\n", code), code) for _, code in BLOCK.findall(page.read_text())
    )
    return {name[1]: code for name, code in named if name}


def commands(page: Path) -> list[str]:
    """The lines to type, continued after a backslash."""
    shells = (code for language, code in BLOCK.findall(page.read_text()) if not language)
    return [line for code in shells for line in code.replace("\\\n", " ").splitlines() if line]


@pytest.fixture(params=HOW_TO, ids=lambda page: page.stem)
def page(request, tmp_path, monkeypatch):
    """A page whose files are written to the current folder."""
    for name, code in blocks(request.param).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    if request.param.stem == "add-a-dataset":
        (tmp_path / "arrays").mkdir()
        for seed, split in enumerate(("train", "val", "test")):
            image = np.random.default_rng(seed).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
            np.savez(tmp_path / "arrays" / f"{split}.npz", image=image, label=image.mean((1, 2, 3)) > 127)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return request.param


def test_a_page_is_short():
    assert HOW_TO and [page.name for page in HOW_TO if len(page.read_text().splitlines()) > 80] == []


def test_its_own_test_passes(page):
    """Conformance for components; what else a page tests."""
    for name, code in blocks(page).items():
        if name.startswith("test_"):
            scope: dict = {}
            exec(compile(code, name, "exec"), scope)  # noqa: S102 (the page's own code)
            for test in [value for key, value in scope.items() if key.startswith("test_")]:
                test()


def test_its_dry_run_states_the_cost(page, tmp_path):
    if page.stem not in COSTS:
        pytest.skip("it adds nothing that costs")
    line = next(line for line in commands(page) if "dry_run=true" in line)
    folders, arguments = config_folders(line.split()[3:])
    plan = plan_steps(tiny_job(tmp_path / "outputs", *arguments, base=(), folders=folders))
    whole = sum_steps([step for step in plan if not step.name.startswith(("metric", "statistics"))], "all", 0)
    assert (whole.queries, whole.evaluations) == COSTS[page.stem]


def test_its_commands_are_right(page):
    """Composed and checked; of a grid the first job."""
    register()
    for line in (line for line in commands(page) if "pomelo_lab.run" in line):
        folders, words = config_folders(shlex.split(line)[3:])
        with initialize_config_dir(CONF, version_base="1.3"):
            validate(compose("run", [*search_path(folders), *(first(word) for word in words if "=" in word)]))


@pytest.mark.slow
def test_its_commands_run(page, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "POMELO_ROOT": str(tmp_path)}
    for line in commands(page):
        typed = line.replace("python", sys.executable, 1)
        done = subprocess.run(typed, shell=True, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    assert PRINTED.get(page.stem, "results: ") in done.stdout
