from rich.console import Console

from pomelo_lab.results import render, table_files
from pomelo_lab.results.table import build
from tests.results.test_table import TABLE, cells


def shown(table, width=140):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))
    render.terminal(table, console)
    return console.export_text()


def test_terminal_shows_both_numbers_states_and_verdicts():
    text = shown(build(TABLE, cells(), ["scale=smoke"]))
    verdicts = ("✓ holds", "✗ fails (point)", "· missing rows", "without flow", "agrees")
    for part in ("705.5 ± 3.6", "717.17", "failed", "D_M ↓", *verdicts, "4 of 5 jobs done, 1 failed"):
        assert part in text, part
    assert max(map(len, text.splitlines()[2:-1])) <= 140


def test_narrow_terminals_leave_the_deviations_to_the_files():
    text = shown(build(TABLE, cells()), width=60)
    assert "705.5 " in text and "± 3.6" not in text and "± std in the files" in text


def test_columns_that_do_not_fit_stand_below():
    made = build(TABLE, cells())
    wide, narrow = (text.split("ours:")[0] for text in (shown(made), shown(made, width=48)))
    assert "…" not in narrow and max(map(len, narrow.splitlines()[2:])) <= 48
    heads = [c.symbol for c in made.columns]
    assert len(heads) > 2 and all(wide.count(f"{h} ") == narrow.count(f"{h} ") for h in heads)
    assert narrow.count(" method ") > 1 == wide.count(" method ")


def test_nothing_done_names_other_settings_and_the_command():
    console = Console(width=140, record=True, file=open("/dev/null", "w"))
    table = build(TABLE, [], ["scale=quick"])
    render.print_other_settings(table, [(("scale=demo", "n_images=3"), 9)], console)
    text = console.export_text()
    assert "9 done with scale=demo n_images=3: " in text and " fake_table scale=demo n_images=3" in text
    assert "python -m pomelo_lab.run -m experiment=fake_table" in text


def test_latex_escapes_and_balances():
    text = table_files.latex(build(TABLE, cells()))
    assert r"E\_hard" in text and text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    n = text.splitlines()[4].count("&")
    assert all(line.count("&") == n for line in text.splitlines() if line.endswith(r"\\"))


def test_columns_are_explained_by_their_keys_where_their_titles_are_short():
    text = shown(build(TABLE, cells()), width=80)
    assert (
        "D_M = mahalanobis, Sil. = silhouette, E_hard = entropy_hard" in " ".join(text.split())
        and "extra = " not in text
    )
    assert "not in paper" in text
