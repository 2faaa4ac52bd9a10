"""Every figure draws from fabricated artefacts, with unknown methods and missing pieces among them."""

from dataclasses import replace
from pathlib import Path

import pytest

from pomelo_lab.results.figure import dispatch
from pomelo_lab.results.marks import Mark
from pomelo_lab.results.report import Report, Row, load_reports
from pomelo_lab.results.table import build
from tests import running
from tests.results.fake import FakeCell, FakeJob

LIVE = ("patch_row", "removal_sheet", "same_masks")  # they ask a filler, or jobs beside their own: see below
MODULES = sorted(
    p.stem
    for p in Path(dispatch.__file__).parent.glob("*.py")
    if p.stem not in ("style", "dispatch", "segment_panels", *LIVE)
)
SENSITIVITY = ("sensitivity_ssim_authors", "sensitivity_hog", "sensitivity_spearman")
FIDELITY = ("deletion_black", "insertion_black", "deletion_blur", "insertion_blur")
METRICS = (*SENSITIVITY, *FIDELITY, "localization", "cd", "silhouette", "label_distribution", "iou", "emr", "emp")
VALUES = {
    "l2": [1.0, 2.0],
    "ssim": [0.5, 0.6],
    "entropy_hard": [1.0, 1.5],
    "entropy_soft": [2.0, 2.2],
    "stability": [0.1, 0.2],
    "mahalanobis": [9.0, 8.0],
    "mark_mass": [0.1, 0.3],
    "mark_effect": [0.5, 0.6],
    "perturbing_time": [2.0, 2.1],
}
METHODS = (("black", "lime"), ("blur", "lime"), ("ideal", "lime"), ("median", "lime"), ("none", "random"))


def cells():
    made_cells = []
    for k, (sampler, name) in enumerate(METHODS):
        for n in (30, 70):
            explainer = {"n_samples": 100, "direction": "hg"[k % 2], "index": [[0, 1, 2], [0]][k % 2]}
            settings = {"n_steps": n, "eta": 0.4, "sigma": 0.3, "depth": n / 100, "mu": n / 100, "rate": n / 100}
            config = {"segmenter": {"n_segments": n}, "explainer": explainer, "sampler": settings}
            config |= {"dataset": {"spurious": {"rate": n / 100}}}
            stages = {"perturbation": {"seconds": 1.0 + k + n / 100, "images": 10}} if name == "lime" else {}
            status = {"device": "cpu", "stages": stages}
            choices = {"sampler": sampler, "explainer": name}
            made_cells.append(FakeCell(choices, VALUES, config=config, status=status, job=FakeJob(METRICS, k)))
    return made_cells


@pytest.mark.parametrize("module", MODULES)
def test_figure_is_drawn_as_png_and_pdf(module, tmp_path):
    report = Report("t", "", "", rows=(Row("blur", "Blur", "lime_blur"),), figure=module)
    path = dispatch.draw_figure(build(report, cells()), tmp_path)
    assert path == tmp_path / f"{module}.png" and path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size > 5_000
    assert path.with_suffix(".pdf").read_bytes()[:5] == b"%PDF-"


def test_labels_and_groups_are_those_of_the_rows_with_their_marks(monkeypatch, tmp_path):
    """Only while the row's own table is drawn."""
    from pomelo_lab.results.figure import cost, style

    styles = {}
    monkeypatch.setattr(
        cost, "draw", lambda cells, path: styles.update((m.label, m) for m, _ in style.group_by_method(cells))
    )
    rows = (Row("b", "Blurred", "lime_blur", "baseline", reach="segment"), Row("i", "Ideal", "lime_ideal", "limit"))
    table = build(Report("t", "", "", rows=rows, figure="cost"), cells())
    dispatch.draw_figure(replace(table, marks=(Mark("†", "control", "", {"b": "Blurred"}),)), tmp_path)
    assert list(styles)[:2] == ["Blurred †", "Ideal"] and styles["Ideal"].group == "limit"
    assert "none" in styles or "random" in styles, "methods without a row come last, under their own names"
    assert styles["Blurred †"].colour == style.COLOURS["blur"] and styles["Blurred †"].marker == "o"
    assert style.method_style(cells()[2]).label == "lime_blur"


def test_a_figure_of_a_stranger_is_drawn_when_it_is_asked_for(monkeypatch, tmp_path):
    (tmp_path / "my_bars.py").write_text(
        "def draw(cells, path):\n    path.write_text(str(len(cells)))\n    return path"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bars.py").write_text((tmp_path / "my_bars.py").read_text())
    monkeypatch.syspath_prepend(tmp_path)
    table = build(Report("t", "", ""), cells())
    assert dispatch.draw_figure(table, tmp_path) is None, "the report has none"
    assert dispatch.draw_figure(table, tmp_path, "mine.bars").read_text() == str(len(cells()))
    for wrong in ("projektion", "mine.absent"):
        with pytest.raises(ValueError, match=f"no figure {wrong}"):
            dispatch.load_figure(wrong)


def test_the_options_of_published_figures_are_their_modules_own(tmp_path):
    for table in load_reports().values():
        if table.figure_options and table.figure not in LIVE:
            drawn = build(replace(table, rows=(), columns=(), claims=()), cells())
            assert dispatch.draw_figure(drawn, tmp_path / table.id).stat().st_size > 5_000


def test_every_published_figure_has_a_module():
    assert {t.figure for t in load_reports().values() if t.figure} <= {*MODULES, *LIVE}


GRIDS = [
    ("agarwal_fig7", "sampler=mean_dataset", "patch_row"),
    ("agarwal_table1", "sampler=none,blur_removal", "removal_sheet"),
    ("agarwal_fig9", "method=lime_seeds", "same_masks"),
]


@pytest.mark.parametrize(("preset", "grid", "figure"), GRIDS)
def test_figures_that_fill_anew_are_drawn_by_the_command(preset, grid, figure, tmp_path):
    done = running.command(tmp_path, "-m", f"experiment={preset}", grid, "scale=smoke", "tracking=none", tiny=False)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob(f"figures/**/{figure}.png")
    assert path.stat().st_size > 5_000 and path.with_suffix(".pdf").exists()


def test_nothing_finished_draws_nothing(tmp_path):
    table = build(Report("t", "", "", figure="cost"), [FakeCell({"sampler": "gray"}, state="missing")])
    assert dispatch.draw_figure(table, tmp_path) is None


def test_panels_without_a_number_say_so(tmp_path):
    from pomelo_lab.results.figure import cost, style

    cell = FakeCell({"sampler": "gray"}, config={"segmenter": {"n_segments": 30}})
    with pytest.raises(style.NothingToDrawError, match="no finished job has .* seconds per 1,000 perturbed images"):
        cost.draw([cell], tmp_path / "cost.png")


@pytest.mark.parametrize("module", [*MODULES, *LIVE])
def test_the_options_of_a_figure_are_read_from_its_source(module):
    import inspect

    assert dispatch.list_options(module) == list(inspect.signature(dispatch.load_figure(module).draw).parameters)[2:]
