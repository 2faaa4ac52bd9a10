import math
from dataclasses import replace
from pathlib import Path

import pytest

from pomelo_lab.results import table_files
from pomelo_lab.results.columns import extra_columns
from pomelo_lab.results.report import Claim, Column, Report, Row, load_report
from pomelo_lab.results.table import build, extra_rows
from tests.results.fake import FakeCell

GOLDEN = Path(__file__).with_name("golden")
TABLE = Report(
    id="fake_table",
    title="Samplers",
    source="A paper, Table 1",
    columns=(
        Column("mahalanobis", "D_M", "$D_M$", "DA", "down", 1),
        Column("silhouette", "Sil.", group="DA", arrow="up", magnitude=True, note="printed the wrong way round"),
        Column("entropy_hard", "E_hard", group="D", arrow="up", digits=2),
    ),
    rows=(
        Row(
            "flow",
            "Flow",
            "of_the_next_issue",
            "proposed",
            {"mahalanobis": (398.32, None), "entropy_hard": (1.07, 0.43)},
        ),
        Row("black", "Black-out", "black", "baseline", {"mahalanobis": (717.17, None), "entropy_hard": (0.44, 0.32)}),
        Row("gray", "Gray-out", "gray", "baseline", {"mahalanobis": (611.63, None)}),
        Row("blur", "Blur", "blur", "baseline"),
        Row("reference_val", "Validation", "reference_val", "reference"),
    ),
    claims=(
        Claim("black-out lies furthest out", "4.2", ("mahalanobis: gray < black",)),
        Claim("the flow is nearest", "4.2", ("mahalanobis: flow < others",)),
        Claim("gray-out separates more", "4.2", ("silhouette: black < gray",)),
    ),
)


def cell(sampler, state="done", **values):
    return FakeCell({"sampler": sampler, "explainer": "none"}, values, state, {"sampler": sampler})


def cells():
    nan = [1.0, math.nan, *[0.5] * 10]
    return [
        cell("black", mahalanobis=[700.0 + k for k in range(12)], silhouette=-0.4, entropy_hard=nan, extra=[0.25] * 12),
        cell("gray", mahalanobis=[300.0 + k for k in range(12)], silhouette=0.1, entropy_hard=[1.25] * 12),
        cell("blur", state="failed"),
        cell("reference_val", mahalanobis=[30.0] * 12, silhouette=0.01, entropy_hard=[2.0] * 12),
        cell("median", mahalanobis=[500.0] * 12, silhouette=0.3, entropy_hard=[1.0] * 4),
    ]


@pytest.mark.parametrize("kind", ["md", "csv", "tex"])
def test_golden_files(kind, tmp_path):
    """Renderings of stored rows, to the letter; POMELO_GOLDEN=1 writes them again."""
    import os

    table_files.write(build(TABLE, cells(), ["scale=smoke"]), tmp_path)
    text, kept = (tmp_path / f"table.{kind}").read_text(), GOLDEN / f"table.{kind}"
    if os.environ.get("POMELO_GOLDEN"):
        kept.write_text(text)
    assert text == kept.read_text()


def test_entries():
    table = build(TABLE, cells())
    entry = {key: e for key, e in table.entries.items()}
    assert entry["flow", "mahalanobis"].state == "not built" and entry["flow", "mahalanobis"].printed == (398.32, None)
    assert entry["blur", "mahalanobis"].state == "failed"
    assert entry["black", "silhouette"].mean == 0.4  # magnitude
    assert (entry["black", "entropy_hard"].n, entry["black", "entropy_hard"].n_nan) == (11, 1)
    assert entry["gray", "mahalanobis"].best and not entry["reference_val", "mahalanobis"].best
    assert entry["gray", "extra"].state == "not scored" and entry["black", "extra"].mean == 0.25
    assert table.rows[-1].label == "median" and entry["median", "entropy_hard"].n == 4
    assert [v.verdict for v in table.verdicts] == ["holds", "missing rows", "fails"]
    assert table.own == ("agrees", "agrees (2 of 3 pairs)", "not printed")
    assert table.states == {"done": 4, "failed": 1} and not table.complete


def test_directions_come_from_the_metric_not_from_the_print():
    assert build(TABLE, cells()).directions == {
        "mahalanobis": "lower",
        "silhouette": "lower",
        "entropy_hard": "higher",
        "extra": "higher",
    }


def test_directions_of_what_no_job_scored_are_the_metrics_too():
    """The paper's arrow of the silhouette is the wrong way round; a suite names its class."""
    unscored = [
        FakeCell(c.choices, {m: v for m, v in c.values.items() if m != "silhouette"}, c.state, c.point) for c in cells()
    ]
    table = build(TABLE, unscored)
    assert table.directions["silhouette"] == "lower" and "Sil. ↓" in table_files.markdown(table)
    null = Column("lpips[null]", "null", better="none")
    columns = (Column("nobody_knows", "X", arrow="down"), Column("seconds_per_image", "s", arrow="up"), null)
    assert build(replace(TABLE, columns=columns, claims=(), partial=True), cells()).directions == {
        "nobody_knows": "lower",
        "seconds_per_image": "lower",
        "lpips[null]": None,
    }


def test_optional_columns_show_what_the_paper_printed():
    """A network whose file is missing hides our number, not the paper's."""
    silent = replace(TABLE.columns[0], metric="fid", symbol="FID", optional=True)
    printed = tuple(replace(r, values={**r.values, "fid": (3.6, None)}) if r.key == "black" else r for r in TABLE.rows)
    assert "fid" not in build(replace(TABLE, columns=(*TABLE.columns, silent)), cells()).directions
    table = build(replace(TABLE, columns=(*TABLE.columns, silent), rows=printed), cells())
    assert table.entries["black", "fid"].state == "not scored" and "–<br>[3.6]" in table_files.markdown(table)


def test_rows_that_the_data_cannot_build_and_jobs_that_failed_are_named():
    ideal = FakeCell({"sampler": "gray"}, {}, "skipped", {"sampler": "gray"}, lacks="needs Portraits, not CelebA")
    broken = FakeCell(
        {"sampler": "blur"}, {}, "failed", {"sampler": "blur"}, status={"error": "Traceback\nValueError: no paint"}
    )
    scored = replace(
        cell("black", mahalanobis=[1.0] * 12),
        config={"scale": {}, "left_out": {"metrics.iou": "needs masks, CelebA has none"}},
    )
    table = build(TABLE, [scored, ideal, broken])
    text = table_files.markdown(table)
    assert table.entries["gray", "mahalanobis"].state == "skipped" and "1 of 2 jobs done, 1 failed" in text
    for part in (
        "not on this data (–): sampler=gray: needs Portraits, not CelebA",
        "failed: sampler=blur: ValueError: no paint",
        "left out on this data: iou: needs masks, CelebA has none",
    ):
        assert part in text
    assert build(TABLE, [scored, ideal]).complete, "nothing is left to compute"


def test_agreement_of_the_printed_numbers_says_what_it_does_not_rest_on():
    """A measure of which the paper printed nothing is not part of "agrees"."""
    both = Claim("black-out is far and separated", "4", ("mahalanobis: black > gray", "silhouette: black > gray"))
    table = build(replace(TABLE, claims=(both,)), cells())
    assert table.own == (
        "agrees; nothing printed of Sil.",
    ) and "agrees; nothing printed of Sil." in table_files.markdown(table)


def test_set_statistics_show_their_interval_and_the_spread_of_their_draws():
    """An interval over resampled images and a deviation over random draws are no deviations over images, and the notes
    say so."""
    one = cell("black", silhouette=-0.4)
    summary = {
        "silhouette": {
            "mean": -0.4,
            "std": 0.05,
            "n": 12,
            "n_nan": 0,
            "direction": "lower",
            "details": {"low": -0.5, "high": -0.3},
        }
    }
    shown = build(
        replace(TABLE, columns=(replace(TABLE.columns[1], magnitude=False),)),
        [Given(one.choices, point=one.point, given=summary)],
    )
    text = table_files.markdown(shown)
    assert (
        "-0.400 ± 0.050 [-0.500, -0.300]" in text
        and "Sil.: ± over random draws of a set statistic, not over images" in text
    )
    assert "95 % interval of a set statistic over resampled images" in text


class Given(FakeCell):
    """A cell whose summary is given as it is."""

    def __init__(self, *args, given, **more):
        super().__init__(*args, **more)
        self.given = given

    @property
    def summary(self):
        return self.given


def test_rows_outside_a_narrowed_grid_are_not_missing():
    """Who asks for two samplers is not told that the others still have to be computed."""
    table = build(TABLE, [cell("black", mahalanobis=[1.0] * 12), cell("gray", state="missing")])
    states = [table.entries[key, "mahalanobis"].state for key in ("black", "gray", "blur", "flow")]
    assert states == ["done", "missing", "not asked", "not built"]
    assert "not in the grid that was asked for (–): Blur, Validation" in table.notes()


def test_standard_errors_stand_beside_standard_errors():
    both = [build(replace(TABLE, spread=kind), cells()) for kind in ("std", "standard_error")]
    texts = [table_files.markdown(table) for table in both]
    assert "705.5 ± 3.6" in texts[0] and "Mean ± std over images" in texts[0]
    assert "705.5 ± 1.0" in texts[1] and "Mean ± standard error of the mean over images" in texts[1]  # 3.6 / sqrt(12)
    assert both[1].entries["black", "mahalanobis"].spread("standard_error") == pytest.approx(math.sqrt(13 / 12))


def test_repeats_of_a_set_statistic_have_a_spread():
    made = build(TABLE, [cell("black", silhouette=(-0.3, -0.5))])
    assert (
        "0.400 ± 0.141" in table_files.markdown(made)
        and "Sil.: ± over 2 repeats of a set statistic, not over images" in made.notes()
    )


def test_repeats_over_seeds_are_averaged_per_image():
    entry = build(TABLE, [cell("black", mahalanobis=[1.0, 3.0]), cell("black", mahalanobis=[3.0, 5.0])]).entries[
        "black", "mahalanobis"
    ]
    assert (entry.mean, entry.n, entry.repeats) == (3.0, 2, 2)
    assert entry.std == pytest.approx(math.sqrt(2)) and entry.std_repeats == pytest.approx(math.sqrt(2))


def test_rows_split_across_a_config_key_and_cost_comes_from_the_status():
    cost = {"stages": {"perturbation": {"seconds": 4.0, "images": 10}}}
    one = FakeCell(
        {"sampler": "black"}, config={"segmenter": {"n_segments": 30}, "explainer": {"n_samples": 200}}, status=cost
    )
    row = Row("black@30", "Black", "black", "baseline", point={"segmenter.n_segments": 30})
    other = Row("black@70", "Black", "black", "baseline", point={"segmenter.n_segments": 70})
    table = build(Report("t", "", "", (Column("seconds_per_1000", "s"),), (row, other)), [one])
    assert table.entries["black@30", "seconds_per_1000"].mean == 2.0
    assert table.entries["black@70", "seconds_per_1000"].state == "not asked"


def best_of(**scores):
    table = build(TABLE, [cell(sampler, entropy_hard=values) for sampler, values in scores.items()])
    return [row for (row, metric), e in table.entries.items() if e.best and metric == "entropy_hard"]


def test_bold_is_what_the_images_bear_out():
    """A mean over two images that is 0.001 ahead was bold, and read first."""
    apart = [1.0 + 0.01 * k for k in range(12)]
    mixed = [v + (0.5 if k % 2 else -0.48) for k, v in enumerate(apart)]
    assert best_of(black=apart, gray=[v + 1 for v in apart]) == ["gray"]
    assert best_of(black=apart, gray=mixed) == [], "its mean is higher, and half of the images say the opposite"
    assert best_of(black=[1.0, 1.0], gray=[2.0, 2.0]) == [], "two images"
    assert best_of(black=apart, gray=apart) == ["black", "gray"], "equal means share it"


def test_a_metric_outside_the_papers_table_has_the_title_that_another_table_gives_it():
    """`label_distribution` stood as a raw key beside pretty names."""

    class Scored:
        summary = {"mahalanobis": {}, "label_distribution": {}, "a_metric_of_mine": {}}

    titles = [column.symbol for column in extra_columns(load_report("pomelo_table1"), [Scored()])]
    assert titles == [load_report("pomelo_fig6").columns[0].symbol, "a_metric_of_mine"]


def test_a_lone_job_of_a_row_is_called_after_its_row():
    """On data without the label that a preset varies it was called after its sampler, "none"."""
    lone = FakeCell({"method": "dime", "sampler": "none"}, {"l1": [0.5] * 3})
    labelled = FakeCell({"sampler": "gray"}, {"l1": [0.5] * 3})
    assert [row.label for row in extra_rows([lone, labelled])] == ["dime", "gray"]


def test_a_row_says_which_arguments_of_its_method_the_command_changed():
    """Else `sampler=gray sampler.value=0.9` stands as Gray-out beside the paper's number for gray."""
    gray = cell("gray", entropy_hard=[1.0] * 12)
    assert build(TABLE, [gray], ["sampler=gray", "sampler.value=0.9"]).rows[2].label == "Gray-out, value=0.9"
    assert build(TABLE, [gray], ["sampler=gray", "scale=smoke"]).rows[2].label == "Gray-out"
    swept = [
        replace(cell("gray", mahalanobis=[mean] * 12), point={"sampler": "gray", "sampler.value": value})
        for mean, value in ((1.0, "0.1"), (2.0, "0.9"))
    ]
    table = build(TABLE, swept, ["sampler=gray", "sampler.value=0.1,0.9"])
    means = {row.label: table.entries[row.key, "mahalanobis"].mean for row in table.rows}
    assert (means["Gray-out, value=0.1"], means["Gray-out, value=0.9"], means["Gray-out"]) == (1.0, 2.0, None)
    own = build(TABLE, swept, ["sampler=gray"])
    assert own.entries["gray", "mahalanobis"].mean == 1.5, "what the preset itself varies is no change"


def test_only_these_columns():
    assert "extra" in build(TABLE, cells()).directions
    assert "extra" not in build(replace(TABLE, partial=True), cells()).directions


def test_a_cell_whose_component_the_command_replaced_stands_in_no_row_of_the_report():
    """A grid over the report's methods with another explainer gives rows of its own, which say so."""
    report = replace(TABLE, rows=(*TABLE.rows, Row("ideal_mask", "Ideal mask", "ideal_mask", "limit")))
    choices = {"method": "ideal_mask", "sampler": "none", "explainer": "mine"}
    replaced = FakeCell(choices, {"mahalanobis": [1.0] * 12}, "done", {"method": "ideal_mask"})
    table = build(report, [replaced], ["explainer=mine", "scale=smoke"])
    assert table.entries["ideal_mask", "mahalanobis"].mean is None and not table.finished["ideal_mask"]
    assert (table.rows[-1].label, table.rows[-1].group) == ("ideal_mask, explainer=mine", "yours")
    assert table.entries[table.rows[-1].key, "mahalanobis"].mean == 1.0
    assert len({row.key for row in table.rows}) == len(table.rows)
