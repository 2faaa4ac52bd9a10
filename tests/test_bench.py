"""The comparisons run at toy size and give finite numbers; times are never asserted."""

from __future__ import annotations

import json
import math
import sys

import pytest

from pomelo_lab.bench import report
from pomelo_lab.bench.peers import Asked
from pomelo_lab.bench.row import Row, ratio, total
from pomelo_lab.bench.scaling import AXES, Axis, slope
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside, Run, Seconds
from tests.tiny import TinyLinear

TOY = {
    "lime": {"n_samples": 12, "batch_sizes": (5, 12)},
    "deletion": {"cases": ((1, 4), (2, 4)), "batch_sizes": (4,)},
    "portraits": {"n_images": 2},
    "patches": {"architectures": ("resnet18",), "size_px": 64, "patches_px": (8,), "stride_px": 28},
    "removal": {"n_images": 2, "n_steps": 2, "stride_px": 4},
    "attribution": {"n_images": 2, "n_steps": 2},
    "sampler": {"n": 6, "batch_size": 4},
    "scaling": {
        "axes": {"images": Axis("n_images", (1, 2)), "jobs": Axis("seed", (1, 2), jobs=True)},
        "job": ("classifier.weights=null", "explainer.n_samples=4", "metrics=none", "tracking=none"),
        "n_answers": 3,
    },
    "peers": {"networks": (Asked("resnet18", 32, 80, 4),), "batch_sizes": (16,)},
    "generative": {"n": 3, "n_flow": 3, "n_steps": 2, "n_single": 2, "batch_sizes": (2, 4), "segments": (2, 6)},
}
PACKAGES = {
    "generative": ("diffusers", "onnxruntime"),
    "peers": ("lime", "captum", "quantus", "onnxruntime"),
    "lime": ("lime", "captum", "sklearn"),
    "deletion": ("quantus",),
}


@pytest.fixture(scope="module")
def toy() -> Setting:
    return Setting(
        size_px=16, n_segments=6, repeats=2, classifiers={"tiny": TinyLinear.random(5, (3, 16, 16), scale=0.05)}
    )


def test_every_comparison_is_found_and_tried():
    assert set(report.comparisons()) == set(TOY)


@pytest.mark.parametrize("name", TOY)
def test_comparisons_give_finite_numbers(name, toy):
    for package in PACKAGES.get(name, ()):
        pytest.importorskip(package)
    rows = report.comparisons()[name].compare(toy, **TOY[name])
    assert rows and len({row.what for row in rows}) == len(rows)
    for row in rows:
        assert row.values and all(math.isfinite(v) and v >= 0 for v in (*row.values, *row.cpu))
        if row.unit == "difference":  # the same work was timed
            assert row.meets_target


def test_targets_and_text():
    assert Row("a", (9.0, 11.0, 30.0), "x", at_least=10).cells() == ("a", "11x", "9x - 30x", "", "≥ 10x", "yes", "")
    assert Row("a", (0.07,), "%", at_most=0.05).cells()[1:6] == ("7 %", "", "", "≤ 5 %", "NO")
    assert Row("a", (1.0,), "x").meets_target is None


def test_time_inside_is_told_apart_and_ratios_are_paired():
    timer = Inside()
    slow = timer(lambda: sum(range(20000)))
    run = timer.run(lambda: slow() and slow())
    assert 0 < run.inside.wall <= run.total.wall and run.outside.wall >= 0
    theirs = [Run(Seconds(6, 2), Seconds()), Run(Seconds(8, 8), Seconds())]
    ours = [Run(Seconds(3, 1), Seconds()), Run(Seconds(2, 2), Seconds())]
    assert ratio("a", (theirs, total), (ours, total)).values == (2, 4)
    assert ratio("a", (theirs, total), (ours, total)).cpu == (2, 4)


def test_slopes_are_those_of_a_power_law():
    for power in (0, 1, 2):
        runs = [Run(Seconds(3 * n**power, n**power), Seconds()) for n in (2, 4, 16)]
        assert slope((2, 4, 16), runs, "wall") == pytest.approx(power) == slope((2, 4, 16), runs, "cpu")


def test_axes_of_jobs_differ_in_one_key():
    assert AXES["jobs"].grid(2) == ["seed=1", "seed=2"] and AXES["images"].grid(2) == ["n_images=2"]


def test_report_is_written_and_wrong_names_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "comparisons", lambda: {"toy": sys.modules[__name__]})
    assert report.main(["toy", "repeats=1", f"paths.outputs={tmp_path}"]) == 0
    assert "toy work" in capsys.readouterr().out
    assert "| toy work | 2x |" in (tmp_path / "bench" / "bench.md").read_text()
    assert json.loads((tmp_path / "bench" / "bench.json").read_text())["rows"]["toy"][0]["met"] is True
    assert report.main(["nothing"]) == 2
    assert "toy" in capsys.readouterr().err


def compare(setting: Setting) -> list[Row]:
    """This module as a comparison."""
    return [Row("toy work", (2.0,) * setting.repeats, "x", at_least=1)]
