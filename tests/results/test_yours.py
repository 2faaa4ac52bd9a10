"""A finished job of the user is a row of a paper's table, in the group `yours`."""

import shutil

import numpy as np
import pytest

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.results import show
from pomelo_lab.results.grid import cells
from pomelo_lab.results.report import load_report
from pomelo_lab.results.table import build
from pomelo_lab.results.yours import own_cells
from pomelo_lab.run import run

TABLE = "agarwal_table2"
TINY = (
    *("dataset=portraits", "dataset.size_px=32", "classifier.weights=null", "scale=smoke", "networks=tiny"),
    *("images=all", "n_images=4", "tracking=none", "method=random_pixel"),
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A table with one finished row; the maps of that row, stored as `mine.npz` and scored."""
    root = tmp_path_factory.mktemp("outputs")
    (cell,) = cells(TABLE, [*TINY, f"paths.outputs={root}"])
    run(cell.config, brief=True)
    job = Job(cell.config, Store(root))
    np.savez(root / "mine.npz", ids=list(job.batch(0).image_id), maps=job.explanation(0).attribution.numpy())
    return root


@pytest.fixture(scope="module")
def stored(outputs):
    """The score folder of the stored maps."""
    words = [*TINY[:-1], f"paths.outputs={outputs}", "method=stored", f"explainer.maps={outputs}/mine.npz"]
    (cell,) = cells(TABLE, words)
    return run(cell.config, brief=True)


def grid(outputs):
    return cells(TABLE, [*TINY, f"paths.outputs={outputs}"])


def test_a_row_of_yours_has_the_scores_of_its_job(outputs, stored):
    report, ours = load_report(TABLE), grid(outputs)
    made = build(report, [*ours, *own_cells([str(stored)], ours, [row.key for row in report.rows])])
    row = next(row for row in made.rows if row.group == "yours")
    assert row.label == "mine" and row.key not in {row.key for row in report.rows}
    random = next(row for row in made.rows if row.key == "random")
    for column in made.columns:
        assert made.entry(row, column).mean == pytest.approx(made.entry(random, column).mean, abs=1e-6)


def test_a_name_is_given_and_never_that_of_another_row(outputs, stored):
    ours = grid(outputs)
    names = [cell.choices["method"] for cell in own_cells([f"lime={stored}", f"x={stored}", f"x={stored}"], ours)]
    assert names == ["lime (yours)", "x", "x (yours)"]


def test_the_command_shows_it(outputs, stored, capsys):
    words = [TABLE, *TINY, f"paths.outputs={outputs}", "--figure", "none", "--yours", f"captum={stored}"]
    assert show.main(words) == 0
    assert "captum" in capsys.readouterr().out
    assert any("captum" in path.read_text() for path in outputs.glob(f"tables/{TABLE}/*,yours-*/table.md"))


def test_jobs_that_do_not_compare_are_refused(outputs, stored, tmp_path):
    ours = cells(TABLE, [*TINY, f"paths.outputs={outputs}", "n_images=8", "dataset.size_px=16"])
    with pytest.raises(ValueError, match="dataset.size_px is 32, the table has 16; n_images is 4, the table has 8"):
        own_cells([str(stored)], ours)
    with pytest.raises(ValueError, match="is no score folder"):
        own_cells([str(tmp_path)], ours)
    copy = shutil.copytree(stored, tmp_path / stored.name)
    (copy / "status.json").unlink()
    with pytest.raises(ValueError, match="not finished, its state is missing"):
        own_cells([str(copy)], ours)
    assert show.main([TABLE, "--yours"]) == 2
