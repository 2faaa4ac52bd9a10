"""Scores on the images that several methods reached."""

import math

import pytest
import torch

from pomelo_lab.results.grid import cells
from pomelo_lab.results.matched import MatchedCell, find_reached, match_images
from pomelo_lab.results.show import main
from tests import running


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matched")
    for row in ("dime_tweedie", "ideal_counterfactual"):
        more = ["explainer.tau=2", "explainer.lambda_c=[2.0]"] if row == "dime_tweedie" else []
        done = running.command(
            folder,
            "-m",
            "experiment=dime_fast",
            f"method={row}",
            "scale=smoke",
            "tracking=none",
            "n_images=8",
            *more,
            tiny=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


def choose_cells(outputs):
    overrides = ["scale=smoke", "tracking=none", "n_images=8", f"paths.outputs={outputs}"]
    (dime,) = cells("dime_fast", ["method=dime_tweedie", "explainer.tau=2", "explainer.lambda_c=[2.0]", *overrides])
    (ideal,) = cells("dime_fast", ["method=ideal_counterfactual", *overrides])
    return dime, ideal


def test_means_over_the_images_that_all_reached(outputs):
    dime, ideal = choose_cells(outputs)
    common = find_reached(dime) & find_reached(ideal)
    assert common < find_reached(dime) | find_reached(ideal), "the methods must differ for the test to say anything"
    for cell in match_images([dime, ideal], [dime, ideal]):
        assert isinstance(cell, MatchedCell) and cell.common == common
        explained, batch = cell.job.explanation(0), cell.job.batch(0)
        kept = torch.tensor([name in common for name in batch.image_id])
        image = (explained.counterfactual * 255).round() / 255
        change = (image - batch.image).abs().double().mean((1, 2, 3))[kept]
        assert cell.summary["l1"]["n"] == len(common)
        if len(common):
            assert cell.summary["l1"]["mean"] == pytest.approx(float(change.mean()), abs=1e-6)
        scores = cell.scores()
        assert [v is not None for v in scores["l1"]] == kept.tolist()
        # a share of all images stays one
        assert cell.summary["flip_rate"]["n"] == 8 and None not in scores["flip_rate"]


def test_one_method_alone_keeps_its_successes(outputs):
    dime, _ = choose_cells(outputs)
    (cell,) = match_images([dime], [dime])
    before, after = dime.summary["mnac"], cell.summary["mnac"]
    ids, scored = dime.scores()["image_id"], dime.scores()["mnac"]
    # who does not count has no score, not a NaN
    assert {name for name, value in zip(ids, scored, strict=True) if value is not None} == find_reached(dime)
    assert before["n"] == after["n"] == len(find_reached(dime)) and (
        before["mean"] == after["mean"] or math.isnan(before["mean"] or math.nan)
    )


def test_the_command(outputs, capsys):
    assert (
        main(
            [
                "dime_fast",
                "--matched",
                "method=ideal_counterfactual",
                "scale=smoke",
                "n_images=8",
                f"paths.outputs={outputs}",
            ]
        )
        == 0
    )
    # the limit is no method: nothing is narrowed down
    assert "images that all methods reached" not in capsys.readouterr().out
    overrides = [
        "method=dime_tweedie",
        "explainer.tau=2",
        "explainer.lambda_c=[2.0]",
        "scale=smoke",
        "n_images=8",
        f"paths.outputs={outputs}",
    ]
    assert main(["dime_fast", "--matched", *overrides]) == 0
    assert "images that all methods reached" in capsys.readouterr().out
    assert list(outputs.glob("tables/dime_fast/*,matched/table.md"))
