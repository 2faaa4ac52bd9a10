"""Metrics and suites: a yaml mirrors a class, suites are lists of them, and each two suites go together."""

import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from pomelo_lab import metric as package
from pomelo_lab.config.check import resolved
from pomelo_lab.config.entry import CONF, search_path
from pomelo_lab.config.schema import register
from pomelo_lab.config.signature import hints, injected_role, locate
from pomelo_lab.config.suggest import find_error
from pomelo_lab.config.suites import find_clashes, find_metrics, make_distinct, read_metric, read_yaml, remove_repeats
from pomelo_lab.metric.base import Metric
from pomelo_lab.results.grid import cells

register()
METRICS = sorted(path.stem for path in Path(CONF, "metric").glob("*.yaml"))
SUITES = sorted(path.stem for path in Path(CONF, "metrics").glob("*.yaml"))


@functools.cache
def metrics(*overrides):
    """The composed metrics of a job."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return resolved(compose("run", overrides=remove_repeats(overrides)))["metrics"]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_s_yaml_has_the_name_of_its_class(name):
    target = locate(read_yaml("metric", name, ())["_target_"])
    assert target.__name__.lower() == name.replace("_", "") and issubclass(target, Metric)
    chosen = {key.partition("@x.")[2] for key in read_metric(name, "x", ()) if key != "x"}
    assert chosen <= {argument for argument, hint in hints(target).items() if injected_role(hint)}


def test_every_metric_has_a_yaml():
    modules = [
        importlib.import_module(f"{package.__name__}.{path.stem}") for path in Path(package.__path__[0]).glob("*.py")
    ]
    classes = {c for module in modules for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Metric)}
    extended = {base for c in classes for base in c.__bases__}
    named = {locate(read_yaml("metric", name, ())["_target_"]) for name in METRICS}
    assert classes - extended - named == set()


def test_the_arguments_of_a_metric_say_what_they_mean():
    """Each value has a comment, or stands below one that has."""
    for name in METRICS:
        lines = Path(CONF, "metric", f"{name}.yaml").read_text().partition("_target_")[2].splitlines()[1:]
        assert [line for line in lines if "#" not in line and not line.startswith(" ")] == [], name


def test_suites_are_lists_of_metrics():
    """The class of a metric stands in its own yaml alone."""
    assert [s for s in SUITES if "_target_" in str({**read_yaml("metrics", s, ()), "defaults": None})] == []
    entries = [
        entry for s in SUITES for entry in read_yaml("metrics", s, ()).get("defaults", []) if isinstance(entry, str)
    ]
    assert {entry.partition("@")[0].removeprefix("/metric/") for entry in entries if "@" in entry} <= set(METRICS)


def test_a_metric_is_added_to_any_suite():
    made = metrics(
        "metrics=cost", "+metric@metrics.mine=deletion", "sampler@metrics.mine.filler=gray", "metrics.mine.n_images=8"
    )
    assert list(made) == ["perturbing_time", "mine"] and made["mine"]["n_images"] == 8
    assert made["mine"]["filler"]["_target_"].endswith("GraySampler")
    assert metrics("metrics=none", "+metric@metrics.iou=iou")["iou"] == metrics("metrics=explanation")["iou"]


def test_a_metric_and_a_suite_of_a_user(tmp_path):
    for name, text in {
        "metric/mine": "_target_: pomelo_lab.metric.distance.L2\nn_images: 3\n",
        "metrics/ours": "defaults: [cost, /metric/mine@one, {/metric@two: mine}, _self_]\ntwo: {n_images: 5}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    given = ["--config-dir", str(tmp_path), "metrics=ours", "+metric@metrics.three=mine"]
    assert find_error(given) is None and "did you mean 'mine'" in find_error([*given, "+metric@metrics.x=mines"])
    made = metrics(*search_path([str(tmp_path)]), *given[2:])
    assert {key: made[key]["n_images"] for key in ("one", "two", "three")} == {"one": 3, "two": 5, "three": 3}
    assert list(make_distinct(["cost", "ours", "fidelity"], [str(tmp_path)])) == ["ours", "fidelity"]


@pytest.mark.parametrize(
    "suites", ["fidelity", "explanation", "[explanation,fidelity]", "[fidelity,explanation,lime_report]"]
)
def test_the_base_image_of_a_game_is_chosen(suites):
    made = metrics(f"metrics={suites}", "sampler@metrics.deletion_blur.filler=gray", "~metrics.insertion_blur")
    assert made["deletion_blur"]["filler"] == metrics("metrics=fidelity")["deletion_gray"]["filler"]
    assert "insertion_blur" not in made


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "+metric@metrics.x=sism",
            "+metric@metrics.x=sism: there is no metric sism, did you mean 'ssim'?; there are: ",
        ),
        ("metric=sism", "metric=sism: there is no metric sism, did you mean 'ssim'?; there are: bkl, "),
        ("metric=ssim", "metric=ssim: a metric stands under a key of metrics: +metric@metrics.ssim=ssim"),
        ("+metric=l2,nope", "+metric=l2,nope: a metric stands under a key of metrics: +metric@metrics.l2=l2"),
    ],
)
def test_a_wrong_metric_is_one_line(override, line):
    assert find_error([override]).startswith(line) and "\n" not in find_error([override])
    assert find_error(["+metric@metrics.a=ssim", "~metrics.x", "metrics.x.n_images=3"]) is None


def test_each_two_suites_go_together():
    """Hydra refuses a network that two suites choose for a metric of one name, and merges two metrics of one name to
    one that is neither."""
    assert list(find_clashes(SUITES)) == []


@pytest.mark.parametrize(
    "pair", ["explanation,fidelity", "fidelity,explanation", "label_bias,sampler", "flow,generator", "generator,flow"]
)
def test_suites_with_the_same_metric_have_it_once(pair):
    one, other = pair.split(",")
    assert metrics(f"metrics=[{pair}]") == metrics(f"metrics={one}") | metrics(f"metrics={other}")


def test_suites_of_a_grid_and_of_config_folders_are_compared(tmp_path):
    assert remove_repeats(["-m", "metrics=lime_report,[flow, generator],[generator,cost]"]) == [
        "-m",
        "metrics=lime_report,[flow],[generator,cost]",
    ]
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.yaml").write_text("flip_rate: {_target_: mine.Rate}")
    [line] = find_clashes(["mine", "counterfactual"], [str(tmp_path)])
    assert (
        line == find_error(["--config-dir", str(tmp_path), "-m", "metrics=cost,[mine,counterfactual]"])
        and "a metric flip_rate of its own" in line
    )


@pytest.fixture
def preset(tmp_path):
    """A user's preset with two suites that share metrics, and the override that adds its config folder."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "metrics").mkdir()
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_text(
        "# @package _global_\ndefaults:\n  - override /metrics: [explanation, fidelity]\n  - _self_\n"
        "hydra: {sweeper: {params: {seed: '0,1'}}}\n"
    )
    return file, search_path([str(tmp_path)])


def test_the_suites_of_a_preset_are_merged_as_those_of_a_command_line(preset):
    _, folder = preset
    merged = metrics("metrics=[explanation,fidelity]")
    assert metrics(*folder, "experiment=mine") == merged
    table = cells("mine", [*folder, "scale=smoke"])  # scripts/table.py reads a preset so
    assert [(cell.point, list(cell.config["metrics"])) for cell in table] == [
        ({"seed": seed}, list(merged)) for seed in "01"
    ]
    two = cells("", [*folder, "scale=smoke", "experiment=mine,pomelo_steps"])
    assert list(two[0].config["metrics"]) == list(merged) != list(two[1].config["metrics"])


def test_the_suites_of_a_preset_that_clash_are_named(preset):
    file, folder = preset
    (file.parents[1] / "metrics" / "other.yaml").write_text("iou: {_target_: mine.Other}")
    file.write_text(file.read_text().replace("fidelity", "other"))
    with pytest.raises(ConfigCompositionException) as error:
        metrics(*folder, "experiment=mine")
    assert str(error.value).startswith(f"{file}: metrics=[explanation,other]: each has a metric iou of its own")


def test_a_suite_that_is_no_yaml_is_an_error_where_it_is_used(tmp_path):
    file = tmp_path / "metrics" / "bad.yaml"
    file.parent.mkdir()
    file.write_text("iou:\n  _target_: 'mine.Iou\n")
    folders = (str(tmp_path),)
    assert "iou" in find_metrics(folders) and metrics(*search_path(folders), "metrics=cost") == metrics("metrics=cost")
    with pytest.raises(ConfigCompositionException) as error:
        metrics(*search_path(folders), "metrics=bad")
    line = f"{file}, line 3: found unexpected end of stream"
    assert str(error.value) == line == find_error(["--config-dir", str(tmp_path), "metrics=[cost,bad]"])


def test_no_preset_has_suites_that_clash():
    lists = {
        tuple(re.split(r", *", names))
        for path in Path(CONF).rglob("*.yaml")
        for names in re.findall(
            r"/metrics: "
            r"\[(.*)\]",
            path.read_text(),
        )
    }
    assert len(lists) > 5 and not [line for names in lists for line in find_clashes(names)]
