"""The sheet of a job: pictures with labels and keys, from stored artefacts, and never the end of a job."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.results import sheet, sheet_page
from pomelo_lab.run import run
from tests.running import TINY, config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("sheet")
    return outputs, run(
        {
            **config(outputs, "n_images=3", "metrics=none"),
            "choices": {"dataset": "digits", "explainer": "lime", "sampler": "gray"},
        }
    )


def read(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_job_leaves_a_sheet_and_says_where_its_artefacts_lie(finished):
    outputs, folder = finished
    pixels = read(folder / "sheet.png")
    red = (pixels[..., 0] - pixels[..., 2] > 60).mean()
    assert pixels.shape[1] > 600 and red > 0.001, "maps are coloured"
    status = json.loads((folder / "status.json").read_text())
    assert set(status["folders"]) == {"clean", "perturbation", "prediction", "explanation"}
    assert all((outputs / place).is_dir() for place in status["folders"].values())
    assert status["images"]["n"] == 3 and 0 <= status["images"]["correct"] <= 3


def test_the_number_of_images_is_no_part_of_the_fingerprint_and_a_missing_sheet_is_drawn_again(finished):
    outputs, folder = finished
    (folder / "sheet.png").unlink()
    assert run(config(outputs, "n_images=3", "metrics=none", "sheet=1")) == folder
    narrow = (folder / "sheet.png").read_bytes()
    run(config(outputs, "n_images=3", "metrics=none", "sheet=all"))
    assert (folder / "sheet.png").read_bytes() != narrow, "a finished job draws another number of images"


def test_a_broken_picture_costs_no_job(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no canvas")

    monkeypatch.setattr(sheet, "draw", broken)
    folder = run(config(tmp_path, "n_images=2", "metrics=none"))
    assert json.loads((folder / "status.json").read_text())["state"] == "done" and not (folder / "sheet.png").exists()
    assert "(no sheet: RuntimeError: no canvas)" in capsys.readouterr().err


def test_no_sheet_where_none_is_asked_for(tmp_path):
    assert not (run(config(tmp_path, "n_images=2", "metrics=none", "sheet=0")) / "sheet.png").exists()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([-2.0, 1.0], "± 2"),
        ([0.0, 1.0], "0 to 1"),
        ([0.5, 1.0], "0.5 to 1"),
        ([1.0, 1.0], "all 1"),
        ([1.0, float("nan"), -1.0], "± 1, 1 NaN"),
    ],
)
def test_the_scale_of_a_map_is_said(values, text):
    assert sheet.scale_of(torch.tensor(values)) == text


def test_differences_share_one_scale():
    small, large = torch.full((3, 2, 2), 0.1), torch.full((3, 2, 2), -0.4)
    shown, keys = (
        [sheet_page.Shown({}, {"difference": (change, "", False)}) for change in (small, large)],
        {"difference": ""},
    )
    sheet.share_scale(shown, keys)
    assert keys["difference"] == "0.40"
    assert [float(one.pictures["difference"][0].mean()) for one in shown] == pytest.approx([0.625, 0.0])


def test_counterfactuals_that_did_not_flip_are_framed_and_everything_has_a_place(tmp_path):
    def one(framed):
        pictures = {name: (torch.full((3, 5, 9), 0.5), "", False) for name in ("image", "difference")}
        return sheet_page.Shown(
            {"image": ("x", "#000000")}, {**pictures, "counterfactual": (torch.zeros(3, 500, 400), "", framed)}
        )

    sheet_page.draw_page([one(False)], {"difference": "0.1"}, "head", tmp_path / "plain.png")
    sheet_page.draw_page([one(True), *[one(False)] * 9], {"difference": "0.1"}, "head", tmp_path / "framed.png")
    reds = [
        ((p[..., 0] > 190) & (p[..., 1] < 20)).sum()
        for p in (read(tmp_path / "plain.png"), read(tmp_path / "framed.png"))
    ]
    assert reds[0] == 0 and reds[1] > 500
    assert read(tmp_path / "framed.png").shape[0] > 1.5 * read(tmp_path / "plain.png").shape[0], (
        "ten images need two bands"
    )


def test_every_bit_of_a_sheet_is_checked(tmp_path):
    from itertools import product

    sheet_page.draw_page(
        [sheet_page.Shown({"image": ("x", "#000000")}, {"image": (torch.rand(3, 4, 4), "", False)})],
        {},
        "head",
        tmp_path / "sheet.png",
    )
    whole = (tmp_path / "sheet.png").read_bytes()
    # the last four bytes are the end's own checksum
    places = [*range(60), *range(60, len(whole) - 4, len(whole) // 60)]
    for byte, bit in product(places, (1, 128)):
        (tmp_path / "sheet.png").write_bytes(whole[:byte] + bytes([whole[byte] ^ bit]) + whole[byte + 1 :])
        sheet.drop_damaged(tmp_path)
        assert not (tmp_path / "sheet.png").exists(), byte
    (tmp_path / "sheet.png").write_bytes(whole)
    sheet.drop_damaged(tmp_path)
    assert (tmp_path / "sheet.png").exists()


def test_outputs_that_are_no_class_of_the_data_set_have_a_name(tmp_path):
    """A network of 1,000 classes on a folder of two: the sheet ended in an IndexError."""
    (tmp_path / "many.py").write_text(
        "import torch\ndef predict(x): return torch.eye(12)[-1].repeat(len(x), 1).to(x)\n"
    )
    base = [text for text in TINY if not text.startswith("classifier")]
    given = ["classifier=callable", f"classifier.function={tmp_path / 'many.py'}:predict", "classifier.num_classes=12"]
    folder = run(
        {
            **config(tmp_path, *given, "n_images=2", "metrics=none", base=base),
            "choices": {"dataset": "digits", "explainer": "lime", "sampler": "gray"},
        }
    )
    assert (folder / "sheet.png").is_file()
