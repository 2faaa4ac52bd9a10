"""Jobs: fingerprints hold what matters, equal prefixes are computed once, results do not depend on how they were
computed."""

from __future__ import annotations

import shutil

import pytest
import torch

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.tree import override
from pomelo_lab.engine import store as store_module
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.scores import read_status
from pomelo_lab.engine.store import Store
from pomelo_lab.explainer.case import Case
from pomelo_lab.run import run
from pomelo_lab.throughput import SIZES
from tests.running import TINY, all_scores, config, scores


def job(tmp_path, *overrides):
    return Job(config(tmp_path, *overrides), Store(tmp_path))


def files(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}


@pytest.mark.parametrize(
    "change",
    [
        "batch_size=3",
        "batch_size=null",
        "device=cpu",
        "tracking=wandb_offline",
        "keep_gb=0",
        "paper_table=x",
        "explainer.kernel_width=0.250",
    ],
)
def test_what_does_not_matter_is_not_in_the_fingerprint(tmp_path, change):
    assert job(tmp_path, change).fingerprint == job(tmp_path / "elsewhere").fingerprint


@pytest.mark.parametrize(
    "change",
    [
        "seed=1",
        "sampler=black",
        "explainer.alpha=2",
        "n_images=3",
        "target=label",
        "segmenter.n_segments=9",
        "classifier.width=8",
    ],
)
def test_what_matters_is(tmp_path, change):
    assert job(tmp_path, change).fingerprint != job(tmp_path).fingerprint


def test_perturbations_are_shared_between_what_comes_after_them(tmp_path):
    base = digest(job(tmp_path).provenance.perturbation)
    for same in ("explainer.alpha=2", "classifier.width=8", "metrics=none", "n_images=2", "target=label"):
        assert digest(job(tmp_path, same).provenance.perturbation) == base
    for other in ("segmenter.n_segments=9", "seed=1", "sampler.rate=0.4", "explainer.n_samples=9"):
        assert digest(job(tmp_path, other).provenance.perturbation) != base


def test_another_segmentation_does_not_resample_a_full_input_sampler(tmp_path):
    digests = {
        digest(job(tmp_path, "sampler=reference_texture", f"segmenter.n_segments={n}").provenance.perturbation)
        for n in (4, 9)
    }
    assert len(digests) == 1


def test_a_new_metric_recomputes_nothing_else(tmp_path):
    run(config(tmp_path, "metrics=none"))
    before = files(tmp_path)
    run(config(tmp_path))
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in set(after) - set(before)} == {"metric"}


def test_finished_work_is_skipped_unless_forced(tmp_path, capsys):
    folder = run(config(tmp_path))
    before, first = files(tmp_path), scores(folder)
    assert run(config(tmp_path)) == folder and files(tmp_path) == before
    assert "already done" in capsys.readouterr().out
    run(config(tmp_path, "force=true"))
    assert files(tmp_path) != before and scores(folder) == first


FUNCTION = """
import pathlib, torch
def predict(images):
    channel = int((pathlib.Path(__file__).parent / "channel").read_text())
    bright = torch.sigmoid((images[:, channel].mean((1, 2)) - 0.5) * 40)
    return torch.stack([bright, 1 - bright], 1)
"""


def folder_of_the_user(root, seed):
    """Uncompressed images, all of one size, in two classes; a service that answers by one colour."""
    import numpy as np
    from PIL import Image

    for number, name in enumerate("ab"):
        (root / "data" / "test" / name).mkdir(parents=True, exist_ok=True)
        for k in range(3):
            pixels = (
                np.random.default_rng((seed, number, k))
                .integers(0, 256, (4, 4, 3), dtype=np.uint8)
                .repeat(4, 0)
                .repeat(4, 1)
            )
            Image.fromarray(pixels).save(root / "data" / "test" / name / f"{k}.bmp")
    (root / "own.py").write_text(FUNCTION)
    (root / "channel").write_text("0")
    data = ("dataset=image_folder", f"dataset.root={root / 'data'}", "dataset.size_px=16")
    return (*data, "classifier=callable", f"classifier.function={root / 'own.py'}:predict", "classifier.num_classes=2")


def own(outputs, *overrides):
    """The tiny job without what belongs to digits and trained networks."""
    return config(outputs, *overrides, base=[text for text in TINY if not text.startswith(("dataset", "classifier"))])


def test_other_images_of_the_same_names_and_sizes_are_another_job(tmp_path, capsys):
    first = run(own(tmp_path / "o", *folder_of_the_user(tmp_path, 1)))
    given = folder_of_the_user(tmp_path, 2)
    second = run(own(tmp_path / "o", *given))
    assert "already done" not in capsys.readouterr().out and first != second
    assert scores(second) == scores(run(own(tmp_path / "fresh", *given))) != scores(first)
    assert (
        run(own(tmp_path / "o", *folder_of_the_user(tmp_path, 1))) == first
        and "already done" in capsys.readouterr().out
    )


def test_an_edited_function_is_another_job(tmp_path):
    given = folder_of_the_user(tmp_path, 1)
    first = run(own(tmp_path / "o", *given))
    (tmp_path / "own.py").write_text(FUNCTION.replace("[bright, 1 - bright]", "[1 - bright, bright]"))
    second = run(own(tmp_path / "o", *given))
    assert first != second and scores(first)["target"] == [1 - target for target in scores(second)["target"]]


@pytest.mark.parametrize("metrics", ["fidelity", "lime_report"])
def test_forced_work_mixes_nothing_old_with_what_is_new(tmp_path, metrics):
    """A service whose answers change is seen by no fingerprint."""
    given = (*folder_of_the_user(tmp_path, 1), f"metrics={metrics}")
    folder = run(own(tmp_path / "o", *given))
    before = scores(folder)
    (tmp_path / "channel").write_text("1")
    run(own(tmp_path / "o", *given, "force=true"))
    assert scores(folder) == scores(run(own(tmp_path / "fresh", *given))) != before


def test_a_forced_grid_computes_what_its_jobs_share_once(tmp_path):
    grid = [config(tmp_path, "metrics=none", f"explainer.alpha={alpha}", "force=true") for alpha in (1, 2)]
    removed: set = set()
    run(grid[0], removed=removed)
    shared = {
        name: time for name, time in files(tmp_path).items() if name.startswith(("clean", "perturbation", "prediction"))
    }
    run(grid[1], removed=removed)
    assert {name: files(tmp_path)[name] for name in shared} == shared
    run(grid[1])
    assert not set(shared.items()) & set(files(tmp_path).items())


def test_an_interrupted_job_continues_with_the_same_numbers(tmp_path, monkeypatch):
    whole = scores(run(config(tmp_path / "whole", "n_images=20")))
    written = 0
    genuine = store_module.write_shard

    def dies(path, shard):
        nonlocal written
        written += 1
        if written > 5:
            raise KeyboardInterrupt
        genuine(path, shard)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_shard", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config(tmp_path / "cut", "n_images=20"))
    before = files(tmp_path / "cut")
    assert scores(run(config(tmp_path / "cut", "n_images=20"))) == whole
    assert {name: files(tmp_path / "cut")[name] for name in before} == before


def test_growing_a_job_keeps_its_full_groups_and_its_numbers(tmp_path):
    small = scores(run(config(tmp_path, "n_images=16")))
    before = files(tmp_path)
    large = scores(run(config(tmp_path, "n_images=20")))
    assert {name: files(tmp_path)[name] for name in before} == before
    assert {key: column[:16] for key, column in large.items()} == small


@pytest.mark.parametrize("batch_size", [1, 7])
def test_scores_do_not_depend_on_the_batch_size(tmp_path, batch_size):
    few, many = (scores(run(config(tmp_path / str(n), f"batch_size={n}"))) for n in (batch_size, 64))
    for name, column in few.items():
        if name.startswith(("deletion", "insertion")):
            assert column == pytest.approx(many[name], abs=1e-6)


def test_the_fastest_batch_size_changes_no_score_and_stands_in_the_status(tmp_path):
    many = ("explainer.n_samples=400", "n_images=2")  # enough rows for a trial
    fastest, fixed = (run(config(tmp_path / n, *many, f"batch_size={n}")) for n in ("auto", "5"))
    assert fastest.name == fixed.name
    for name, column in scores(fastest).items():
        if name.startswith(("deletion", "insertion")):
            assert column == pytest.approx(scores(fixed)[name], abs=1e-6)
    size = read_status(fastest)["stages"]["prediction"]["batch_size"]
    assert size.keys() == {"ResidualClassifier"} and size["ResidualClassifier"] in SIZES["cpu"]
    assert "batch_size" not in read_status(fixed)["stages"]["prediction"]


def test_a_deterministic_job_has_a_fixed_batch_size():
    assert Components({"batch_size": "auto", "deterministic": True}).batch_size == 64
    assert Components({"batch_size": "auto", "deterministic": False}).batch_size == "auto"
    assert Components({"batch_size": None}).batch_size == "auto"
    assert Components({"batch_size": 7, "deterministic": True}).batch_size == 7


def test_kept_and_remade_perturbations_give_the_same_scores(tmp_path):
    kept, remade = run(config(tmp_path / "a")), run(config(tmp_path / "b", "keep_gb=0"))
    assert not list((tmp_path / "b" / "perturbation").glob("*/*.safetensors"))
    assert scores(kept) == scores(remade)


def test_a_damaged_shard_is_found_and_made_again(tmp_path):
    folder = run(config(tmp_path))
    first = scores(folder)
    [shard] = (tmp_path / "explanation").glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-2] ^= 255
    shard.write_bytes(data)
    shutil.rmtree(folder)
    for path in (tmp_path / "metric").glob("*/*.safetensors"):
        path.unlink()
    assert scores(run(config(tmp_path))) == first


def test_a_failed_job_says_so_and_why(tmp_path, monkeypatch):
    def broken(*_):
        raise ValueError("no explanation today")

    monkeypatch.setattr(Job, "explanation", broken)
    with pytest.raises(ValueError, match="no explanation today"):
        run(config(tmp_path))
    [status] = (tmp_path / "score").glob("*/status.json")
    assert '"failed"' in status.read_text() and "no explanation today" in status.read_text()


def test_a_class_that_does_not_exist_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="target must be predicted, label, one of .* or a position below 10, got 77"):
        run(override(config(tmp_path), {"target": 77}))
    assert not (tmp_path / "score").exists()


def test_explanations_of_images_do_not_depend_on_their_neighbours(tmp_path):
    whole = job(tmp_path / "a", "segmenter=slic", "segmenter.n_segments=9", "n_images=6").explanation(0).attribution
    fewer = job(tmp_path / "b", "segmenter=slic", "segmenter.n_segments=9", "n_images=2").explanation(0).attribution
    assert torch.allclose(whole[:2], fewer, atol=1e-6)


def test_explanations_do_not_depend_on_batch_size_or_order():
    from pomelo_lab.batching import RandomStreams
    from pomelo_lab.classifier.base import view
    from pomelo_lab.classifier.residual import ResidualClassifier
    from pomelo_lab.dataset.portraits import Portraits
    from pomelo_lab.explainer.lime import LimeExplainer
    from pomelo_lab.sampler.blur import BlurSampler
    from pomelo_lab.segmenter.slic import SlicSegmenter
    from pomelo_lab.weights import ZOO

    dataset = Portraits()
    classifier = ResidualClassifier(
        num_classes=dataset.num_classes, weights=str(ZOO / "portraits_residual.safetensors")
    )

    def explained(indices, batch_size):
        batch, streams, box = dataset.batch(indices), RandomStreams(0), view(classifier, "black_box", batch_size)
        segments = SlicSegmenter(n_segments=35).segment(batch.image)
        perturbed = BlurSampler().perturb(batch, segments, 64, streams)
        explainer, target = LimeExplainer(n_samples=64), box.probability(batch.image).argmax(1)
        return explainer.explain(Case(batch, target, box, streams, segments, perturbed)).attribution

    whole = explained(range(6), 64)
    for batch_size in (1, 7):
        assert torch.allclose(explained(range(6), batch_size), whole, atol=1e-6)
    assert torch.allclose(explained(range(5, -1, -1), 7).flip(0), whole, atol=1e-6)


def test_images_sharded_over_processes_give_the_same_scores(tmp_path):
    one = run(config(tmp_path / "one", "n_images=36", "metrics=none"))
    two = run(config(tmp_path / "two", "n_images=36", "metrics=none", "devices=2", "device=cpu"))
    assert one.name == two.name and scores(one) == scores(two)
    shards = [sorted(p.name for p in (tmp_path / n / "explanation").glob("*/*.safetensors")) for n in ("one", "two")]
    assert shards[0] == shards[1] and len(shards[0]) == 3


def test_all_scores_reads_what_runs_write(tmp_path):
    folder = run(config(tmp_path, "metrics=none"))
    assert list(all_scores(tmp_path)) == [folder.name]
