"""Which large libraries a command imports: only those that it uses, because their imports take most of a start."""

import os
import subprocess
import sys

import pytest

from tests.running import ROOT, TINY

LARGE = ("torch", "torchvision", "matplotlib", "wandb", "lightning", "umap", "sklearn", "torchmetrics", "diffusers")
LARGE += ("skimage", "scipy", "pandas", "pyarrow", "captum")
# prints the imported libraries after the command, whatever its end is
AFTERWARDS = f"""
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *sorted(set({LARGE}) & set(sys.modules))))
module, sys.argv = sys.argv[1], sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def imported(module, *arguments):
    """The large libraries that a command imports."""
    end = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, module, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in end.stdout.splitlines() if line.startswith("imported:")]
    assert lines, end.stderr
    return set(lines[-1].split()[1:])


def test_the_help_imports_no_large_library():
    assert imported("pomelo_lab.run", "--help") == set()


@pytest.mark.parametrize("wrong", ["explainer=lyme", "seed=abc", "batchsize=3", "explainer.n_sample=3"])
def test_a_key_or_choice_that_hydra_refuses_imports_no_large_library(wrong, tmp_path):
    assert imported("pomelo_lab.run", f"paths.outputs={tmp_path}", wrong) == set()


def test_a_value_that_its_component_refuses_imports_what_components_import(tmp_path):
    assert imported("pomelo_lab.run", *TINY, f"paths.outputs={tmp_path}", "seed=0", "explainer.n_samples=abc") == {
        "torch"
    }


def test_a_finished_grid_imports_what_its_table_is_read_with(tmp_path, monkeypatch):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))
    grid = ("pomelo_lab.run", "-m", *TINY, f"paths.outputs={tmp_path}", "metrics=none", "seed=0,1")
    assert "torch" in imported(*grid)
    assert imported(*grid) <= {"pyarrow"}


def test_a_finished_job_imports_what_its_table_is_read_with(tmp_path, monkeypatch):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))
    job = ("pomelo_lab.run", *TINY, f"paths.outputs={tmp_path}")
    assert "torch" in imported(*job)
    assert imported(*job) <= {"pyarrow"}


def test_a_job_imports_no_library_for_its_sheet_its_scores_and_its_log(tmp_path):
    drawn = ["dataset=portraits" if text == "dataset=digits" else text for text in TINY if text != "tracking=none"]
    job = ("pomelo_lab.run", *drawn, f"paths.outputs={tmp_path}", "tracking=wandb_offline")
    assert imported(*job) == {"torch", "pyarrow", "wandb"}
