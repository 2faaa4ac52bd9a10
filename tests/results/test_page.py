from dataclasses import replace

from pomelo_lab.results.page import LONGEST, blocks, changes_since, grid, write_index, write_page
from pomelo_lab.results.table import build
from tests.results.test_table import TABLE, cells

STATUS = {"seconds": 30.0, "started": 86400.0 * 365, "versions": {"commit": "abc1234"}}


def finished():
    """Cells with the status of jobs that ran."""
    made = cells()
    for number, cell in enumerate(made):
        cell.status, cell.folder = STATUS, f"score/{number}"
    return made


def test_a_page_says_where_its_numbers_come_from(tmp_path):
    noted = replace(TABLE, claims=tuple(replace(claim, note="The network is small.") for claim in TABLE.claims))
    page = write_page(build(noted, finished(), ["scale=smoke", "paths.outputs=DIR"]), None, tmp_path)
    text = page.read_text()
    assert page.name == "fake_table.md" and list(tmp_path.iterdir()) == [page]
    joined = " ".join(text.split())
    for part in ("`scale=smoke`", "4 jobs of 120 s", "1971-01-01, commit abc1234", "705.5 ± 3.6", "[717.17"):
        assert part in joined, part
    assert "python -m pomelo_lab.run -m experiment=fake_table scale=smoke" in text
    assert "DIR" not in text
    assert joined.count("The network is small.") == len(TABLE.claims) and "**holds**" in text
    prose = [line for line in text.splitlines() if not line.startswith("|")]
    assert max(map(len, prose)) <= 120 and max(map(len, text.splitlines())) <= LONGEST


def test_the_figure_lies_beside_its_page(tmp_path):
    (tmp_path / "figure.png").write_bytes(b"png")
    page = write_page(build(TABLE, finished()), tmp_path / "figure.pdf", tmp_path / "docs")
    assert (tmp_path / "docs" / "fake_table.png").read_bytes() == b"png"
    assert "](fake_table.png)" in page.read_text()


def test_every_column_stands_in_one_block(monkeypatch):
    table = build(TABLE, finished())
    monkeypatch.setattr("pomelo_lab.results.page.LONGEST", 60)
    parts = list(blocks(table))
    assert [c for part in parts for c in part] == list(table.columns) and len(parts) > 1
    assert all(len(part) == 1 or max(map(len, grid(table, part))) <= 60 for part in parts)


def test_the_list_of_pages_tells_what_each_page_says(tmp_path):
    write_page(build(TABLE, finished(), ["scale=smoke"]), None, tmp_path)
    (tmp_path / "other.md").write_text("# Not a table\n")
    for _ in range(2):  # the list is no page of its own
        rows = write_index(tmp_path).read_text().splitlines()[6:]
    [row] = rows
    assert "](fake_table.md)" in row and "| smoke | " in row and "| 4 | 120 | 1971-01-01 | abc1234 | unknown |" in row


def test_a_page_is_older_than_the_code_that_has_changed_since():
    assert changes_since("HEAD") == "unchanged" and changes_since("abc0000") == "unknown"
