"""Images that the classifier gets right: which they are does not depend on how many are wanted, or when."""

import random

import pytest
import torch

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import plan_steps
from pomelo_lab.engine.selection import CorrectImages, DrawnImages
from pomelo_lab.engine.store import GROUP, Store
from pomelo_lab.run import run
from tests.running import config, scores

RIGHT = torch.tensor([1, 0, 0, 1, 1, 0, 1, 0, 0, 0]).bool()


def choose():
    asked = []

    def correct(group):
        asked.append(group)
        return RIGHT[4 * group : 4 * group + 4]

    return CorrectImages(list(range(100, 110)), correct, 4), asked


def test_the_first_n_are_nested_and_nothing_is_asked_twice():
    few, asked = choose()
    assert few.first(1) == [100] and asked == [0]
    assert few.first(2) == [100, 103] and asked == [0]
    assert few.first(3) == [100, 103, 104] and asked == [0, 1]
    assert few.first(99) == [100, 103, 104, 106] and asked == [0, 1, 2]
    assert few.first(99) == choose()[0].first(99) and asked == [0, 1, 2] and few.first(2) == [100, 103]


def job(tmp_path, *overrides):
    return Job(config(tmp_path, "metrics=none", *overrides), Store(tmp_path))


def test_a_job_explains_only_images_that_are_classified_correctly(tmp_path):
    everything = job(tmp_path, "n_images=200")
    right, ids = [], []
    for group in range(everything.selection.n_groups):
        batch = everything.batch(group)
        right += (everything.clean(group).argmax(-1) == batch.label).tolist()
        ids += list(batch.image_id)
    expected = [image_id for image_id, yes in zip(ids, right, strict=True) if yes]
    assert 5 <= len(expected) < 100  # an untrained network
    chosen = job(tmp_path, "images=correct", "n_images=5")
    assert list(chosen.batch(0).image_id) == expected[:5] and chosen.selection.n_images == 5
    assert (chosen.clean(0).argmax(-1) == chosen.batch(0).label).all()
    more = job(tmp_path, "images=correct", f"n_images={len(expected)}")
    assert [i for g in range(more.selection.n_groups) for i in more.batch(g).image_id] == expected


def test_it_is_part_of_the_fingerprint_and_depends_on_the_classifier(tmp_path):
    every, correct = job(tmp_path), job(tmp_path, "images=correct")
    assert every.fingerprint != correct.fingerprint == job(tmp_path, "images=correct").fingerprint
    assert (
        every.provenance.dataset
        != correct.provenance.dataset
        != job(tmp_path, "images=correct", "classifier.width=8").provenance.dataset
    )
    assert every.provenance.dataset == job(tmp_path, "classifier.width=8").provenance.dataset


def test_scores_count_them_and_a_second_run_is_skipped(tmp_path, capsys):
    node = config(
        tmp_path, "images=correct", "n_images=3", "target=label", "metrics=saliency", "metrics.saliency.alpha=0.5"
    )
    folder = run(node)
    columns = scores(folder)
    assert len(columns["image_id"]) == 3 and columns["label"] == columns["target"]
    run(node)
    assert "already done" in capsys.readouterr().out


def test_fewer_than_asked_for_are_all_there_are(tmp_path):
    whole = job(tmp_path, "images=correct", "n_images=100000")
    images = whole.selection
    assert 0 < images.n_images < len(whole.parts.dataset) == images.n_asked
    assert images.n_groups == -(-images.n_images // GROUP)


def test_none_is_an_error_that_names_the_key(tmp_path):
    never = job(tmp_path, "images=correct", "n_images=3")
    never.selection.correct_images.correct = lambda group: torch.zeros(
        min(GROUP, len(never.parts.dataset) - group * GROUP), dtype=torch.bool
    )
    with pytest.raises(ValueError, match="images=correct: the classifier gives none"):
        _ = never.selection.n_images


def test_the_plan_counts_the_questions(tmp_path):
    (first, second, *_) = plan_steps(job(tmp_path, "images=correct", "n_images=3"))
    assert (
        first.name == "choice of images"
        and first.queries == first.images > 3
        and first.at_most
        and second.name == "clean images"
    )
    assert plan_steps(job(tmp_path, "n_images=3"))[0].name == "clean images"


def test_another_word_is_refused(tmp_path):
    from pomelo_lab.config.check import ConfigError

    with pytest.raises(ConfigError, match="images must be all, correct .* or drawn"):
        config(tmp_path, "images=right")


def test_draws_with_replacement_are_those_of_the_reference_code():
    """DiME's utils/create-mini-val.py draws its mini-validation set by random.choices after random.seed(5), from the
    19,867 validation images."""
    n, state = 19867, random.getstate()
    random.seed(5)
    expected = random.choices(list(range(n)), k=1000)
    random.setstate(state)
    drawn = DrawnImages(n, 1000)
    assert drawn.index == expected and len(set(expected)) == 966
    assert DrawnImages(n, 100).index == expected[:100]  # nested


def test_an_image_that_is_drawn_again_is_another_row(tmp_path):
    """More draws than images, unique names, other random numbers for the second draw of an image."""
    whole = job(tmp_path)
    size = len(whole.parts.dataset)
    drawn = job(tmp_path, "images=drawn", f"n_images={2 * size}")
    assert drawn.selection.n_images == 2 * size == plan_steps(drawn)[0].images
    batches = [drawn.batch(group) for group in range(drawn.selection.n_groups)]
    names = [name for batch in batches for name in batch.image_id]
    index = torch.cat([batch.index for batch in batches])
    assert len(set(names)) == len(names) and len(index.unique()) < size
    again = next(i for i, name in enumerate(names) if name.endswith("#2"))
    first = names.index(names[again].removesuffix("#2"))
    assert first < again and index[first] == index[again]
    draws = [drawn.streams.normal([names[i]], "test", 4) for i in (first, again)]
    assert not torch.equal(*draws)
    assert drawn.fingerprint != whole.fingerprint and "drawn" not in whole.provenance.dataset
    few = job(tmp_path, "images=drawn", "n_images=5")
    assert list(few.batch(0).image_id) == names[:5] and few.provenance.dataset == drawn.provenance.dataset


def test_scores_of_draws_have_a_row_each(tmp_path):
    chosen = (
        "images=drawn",
        "n_images=40",
        "explainer=random",
        "sampler=none",
        "metrics=saliency",
        "metrics.saliency.alpha=0.5",
    )
    columns = scores(run(config(tmp_path, *chosen)))
    assert len(set(columns["image_id"])) == 40


@pytest.mark.parametrize("rule", ["all", "correct", "drawn"])
def test_names_are_those_of_the_batches(rule, tmp_path):
    chosen = job(tmp_path, f"images={rule}", "n_images=20" if rule == "all" else "n_images=300").selection
    batches = [chosen.batch(group) for group in range(chosen.n_groups)]
    expected = {name: i for batch in batches for name, i in zip(batch.image_id, batch.index.tolist(), strict=True)}
    assert chosen.image_ids() == expected and list(chosen.image_ids()) == list(expected)
