"""What a job says at its end: directions, units, NaN counted, images and accuracy; from its files alone."""

from __future__ import annotations

import json

import pytest

from pomelo_lab.results.job_report import image_lines, mean_text, print_report, score_lines

SUMMARY = {
    "deletion": {"mean": 0.25, "std": 0.125, "n": 11, "n_nan": 1, "direction": "lower", "unit": ""},
    "entropy": {"mean": 1.5, "std": None, "n": 12, "n_nan": 0, "direction": None, "unit": "bits"},
    "empty": {"mean": None, "std": None, "n": 0, "n_nan": 12, "direction": "higher", "unit": ""},
}
IMAGES = {"n": 6, "of": 6, "split": "test", "splits": {"train": 28, "val": 6, "test": 6}, "chosen": "all", "correct": 3}


def test_every_score_has_its_direction_unit_spread_and_images():
    lines = [line.split() for line in score_lines(SUMMARY) if line]
    assert lines[0] == ["score", "better", "unit", "mean", "±", "std", "images"]
    assert lines[1] == ["deletion", "lower", "0.250", "±", "0.125", "11", "+", "1", "NaN"]
    assert lines[2] == ["entropy", "–", "bits", "1.50", "12"]
    assert lines[3] == ["empty", "higher", "no", "finite", "value", "0", "+", "12", "NaN"]
    assert max(map(len, score_lines(SUMMARY))) <= 80


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(1234.5, 2.0, "1234 ± 2"), (0.0, 0.0, "0.00 ± 0.00"), (1.5e-9, None, "1.50e-09"), (12.345, 0.5, "12.3 ± 0.5")],
)
def test_means_have_three_digits(mean, std, text):
    assert mean_text(mean, std) == text


def test_images_say_how_many_of_how_many_and_how_to_take_others():
    lines = image_lines(IMAGES)
    assert lines[0] == "images:  6 of 40, split test (others: dataset.split=, train holds 28, val holds 6)"
    assert "3 of 6 right, accuracy 0.50" in lines[1]
    assert "more: n_images=" in image_lines({**IMAGES, "of": 9})[0]
    assert image_lines({}) == []
    assert image_lines({**IMAGES, "n": 100, "chosen": "drawn"})[0].startswith(
        "images:  100 draws with replacement from "
    )
    assert "more: n_images=" not in image_lines({**IMAGES, "of": 9, "chosen": "correct"})[0]


def test_the_report_is_read_from_the_folder_and_ends_in_it(tmp_path, capsys):
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "status.json").write_text(json.dumps({"state": "done", "fingerprint": tmp_path.name, "images": IMAGES}))
    (tmp_path / "sheet.png").write_bytes(b"")
    print_report(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[-1] == f"results: {tmp_path}"
        and lines[-2].endswith("sheet.png")
        and any("deletion" in line for line in lines)
    )
    print_report(tmp_path, brief=True)
    assert "deletion" not in capsys.readouterr().out
