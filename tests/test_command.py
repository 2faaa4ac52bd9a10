"""The command `pomelo-lab`: its words, plug-ins that bring components, and an installed wheel in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from textwrap import dedent

import pytest

from pomelo_lab import __version__, plugins
from pomelo_lab.__main__ import WORDS, main
from tests.running import ROOT, TINY


@pytest.fixture
def plug_in(tmp_path):
    """A folder as pip installs one: a package with a class, a config and a table, and its entry point."""
    package, note = tmp_path / "site" / "pomelo_flat", tmp_path / "site" / "pomelo_flat-1.0.dist-info"
    (package / "conf" / "explainer").mkdir(parents=True)
    note.mkdir()
    (note / "METADATA").write_text("Metadata-Version: 2.1\nName: pomelo_flat\nVersion: 1.0\n")
    (note / "entry_points.txt").write_text("[pomelo_lab.plugins]\nflat = pomelo_flat\n")
    (package / "__init__.py").write_text("")
    (package / "conf" / "explainer" / "flatly.yaml").write_text("_target_: pomelo_flat.maps.FlatExplainer\n")
    (package / "maps.py").write_text(
        dedent("""
            from dataclasses import dataclass

            from pomelo_lab.explainer.base import Explainer
            from pomelo_lab.types import Explanation


            @dataclass(kw_only=True)
            class FlatExplainer(Explainer):
                gives = frozenset({"attribution"})

                def explain(self, case):
                    return Explanation(target=case.target, attribution=case.batch.image.mean(1))
        """)
    )
    return package.parent


def typed(folder, plug_in, *arguments):
    """`python -m pomelo_lab` as a user with a plug-in types it in a folder."""
    search = os.pathsep.join(map(str, (ROOT, plug_in)))
    return subprocess.run(
        [sys.executable, "-m", "pomelo_lab", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
    )


def test_every_word_has_its_function():
    for word in WORDS.values():
        assert callable(getattr(import_module(f"pomelo_lab.{word.module}"), word.function))


def test_help_fits_a_screen_and_a_wrong_word_is_named(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) <= 24 and max(map(len, said)) <= 110 and all(any(word in line for line in said) for word in WORDS)
    assert main([]) == 2 and main(["tabel"]) == 2
    assert "there is no command tabel, did you mean 'table'?" in capsys.readouterr().err
    assert main(["--version"]) == 0 and __version__ in capsys.readouterr().out


@pytest.mark.parametrize("word", [name for name, word in WORDS.items() if not word.hydra])
def test_every_word_has_help(word, capsys):
    if word == "bench":
        pytest.skip("its help is the list of comparisons, which imports them")
    assert main([word, "--help"]) == 0
    assert capsys.readouterr()[0 if word == "conformance" else 1]


def test_a_figure_names_its_table_last(monkeypatch):
    from pomelo_lab.results import show

    asked = []
    monkeypatch.setattr(show, "main", lambda arguments: asked.append(arguments) or 0)
    assert main(["figure", "bars", "pomelo_table1", "scale=smoke"]) == 0
    assert asked == [["pomelo_table1", "--figure", "bars", "scale=smoke"]]


def test_keys_are_completed():
    end = subprocess.run(
        [sys.executable, "-m", "pomelo_lab", "--shell-completion", "query=bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COMP_LINE": "pomelo-lab explainer=li"},
    )
    assert end.stdout.split() == ["explainer=lime"], end.stderr


def test_a_plug_in_s_component_runs_by_name_and_is_suggested(tmp_path, plug_in):
    end = typed(tmp_path, plug_in, "run", *TINY, f"paths.outputs={tmp_path / 'out'}", "explainer=flatly", "n_images=2")
    assert end.returncode == 0, end.stderr
    wrong = typed(tmp_path, plug_in, *TINY, f"paths.outputs={tmp_path / 'out'}", "explainer=flatli")
    assert wrong.returncode and "did you mean 'flatly'" in wrong.stderr, wrong.stderr
    tried = typed(tmp_path, plug_in, "conformance", "explainer=flatly")
    assert tried.returncode in (0, 1) and "FlatExplainer" in tried.stdout, tried.stderr


def test_a_plug_in_without_configs_is_named(tmp_path, monkeypatch):
    (tmp_path / "empty_plug_in").mkdir()
    (tmp_path / "empty_plug_in" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module, told in (("empty_plug_in", "expected a package with a folder `conf`"), ("no.such", "cannot be found")):
        with pytest.raises(ValueError, match=f"the plug-in mine names .*{module}.*{told}"):
            plugins._folder("mine", module)


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_folder(tmp_path, plug_in):
    """Built and unpacked; the libraries are those of this environment."""
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True)
    [wheel] = tmp_path.glob("*.whl")
    site, folder = tmp_path / "installed", tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, site], check=True)
    folder.mkdir()
    inherited = {key: value for key, value in os.environ.items() if key != "POMELO_ROOT"}  # of this checkout
    environment = {**inherited, "PYTHONPATH": os.pathsep.join(map(str, (site, plug_in))), "OMP_NUM_THREADS": "1"}
    for arguments in (
        ("run", *TINY, "explainer=flatly", "n_images=2"),
        ("run", "-m", "experiment=agarwal_fig2", "scale=smoke", "tracking=none"),
        ("table", "agarwal_fig2", "scale=smoke"),
        ("conformance", "explainer=flatly"),
    ):
        end = subprocess.run(
            [sys.executable, "-m", "pomelo_lab", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert end.returncode == 0, (arguments, end.stderr)
    assert (folder / "outputs").is_dir()
