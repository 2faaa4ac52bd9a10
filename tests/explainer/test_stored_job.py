"""Jobs with explainer=stored: the scores are those of the job whose explanations the files hold."""

import numpy as np
import pytest

from pomelo_lab.config.check import ConfigError
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.run import run
from tests.running import config, scores

OURS = ("explainer=random", "explainer.level=pixel", "sampler=none")


def stored(tmp_path, *overrides):
    return config(tmp_path, "explainer=stored", "sampler=none", f"explainer.maps={tmp_path}/maps.npz", *overrides)


@pytest.fixture
def ours(tmp_path):
    """A finished job of random maps, whose maps lie in maps.npz."""
    settings = config(tmp_path, *OURS)
    folder, job = run(settings), Job(settings, Store(tmp_path))
    maps = job.explanation(0).attribution.numpy()
    np.savez(tmp_path / "maps.npz", ids=list(job.batch(0).image_id), maps=maps, target=job.target(0).numpy())
    return folder


def test_the_scores_are_those_of_the_same_maps(ours, tmp_path):
    assert scores(run(stored(tmp_path))) == scores(ours)


def test_other_contents_are_another_job(ours, tmp_path):
    job = Job(stored(tmp_path), Store(tmp_path))
    with np.load(tmp_path / "maps.npz") as file:
        arrays = dict(file)
    (tmp_path / "copy").mkdir()
    np.savez(tmp_path / "copy" / "maps.npz", **arrays)
    copied = Job(stored(tmp_path, f"explainer.maps={tmp_path}/copy/maps.npz"), Store(tmp_path))
    assert copied.fingerprint == job.fingerprint
    np.savez(tmp_path / "maps.npz", **arrays | {"maps": arrays["maps"] * 2})
    assert Job(stored(tmp_path), Store(tmp_path)).fingerprint != job.fingerprint


def test_images_without_a_map_are_named_before_anything_is_computed(ours, tmp_path):
    settings = stored(tmp_path, "n_images=20")
    first = Job(settings, Store(tmp_path)).selection.image_ids()
    with pytest.raises(ValueError, match=f"nothing for 16 of the 20 images of the job: {list(first)[4]}, "):
        run(settings)
    assert len(list((tmp_path / "score").glob("*/status.json"))) == 1


def test_metrics_of_segments_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="scores the coefficient of an explanation, StoredExplainer gives none"):
        stored(tmp_path, "metrics=stability")


@pytest.mark.parametrize("suite", ["robustness", "sanity", "sensitivity"])
def test_metrics_that_explain_again_are_refused(suite, tmp_path):
    """Maps of a file would be the same for any seed, image or network, which says nothing about their method."""
    with pytest.raises(ConfigError, match="asks for further explanations, StoredExplainer has those of its files"):
        stored(tmp_path, f"metrics={suite}")


@pytest.mark.parametrize("table", ["pomelo_table2", "agarwal_table3", "fisher_table1"])
def test_tables_of_maps_take_it(table, tmp_path):
    words = ("method=stored", f"explainer.maps={tmp_path}/maps.npz", f"experiment={table}", "scale=smoke")
    assert config(tmp_path, *words, base=())["explainer"]["maps"] == f"{tmp_path}/maps.npz"
