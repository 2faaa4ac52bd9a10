"""Jobs of explainers that measure statistics of training images, and explanations that are asked for again."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.explain_again import ExplainAgain
from pomelo_lab.engine.plan import plan_steps
from pomelo_lab.engine.scores import Scores
from pomelo_lab.engine.store import ShardKey, Store
from pomelo_lab.explainer.direction_search import DirectionSearch
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.locks import lock_at
from pomelo_lab.run import run
from tests.engine.test_job import job
from tests.running import all_scores, config


def iba(tmp_path, *overrides):
    return job(tmp_path, "explainer=iba", "sampler=none", "metrics=none", "explainer.n_fit=32", *overrides)


def test_statistics_of_an_explainer_are_measured_once_and_shared(tmp_path, monkeypatch):
    calls, fit = [], IBAExplainer.fit
    monkeypatch.setattr(
        IBAExplainer, "fit", lambda self, training, box: calls.append(len(training)) or fit(self, training, box)
    )
    first = iba(tmp_path)
    attribution = first.explanation(0).attribution
    again = iba(tmp_path, "explainer.beta=5")  # what does not decide the statistics
    assert not torch.equal(again.explanation(0).attribution, attribution) and len(calls) == 1
    assert digest(again.provenance.statistics) == digest(first.provenance.statistics)
    for other in ("explainer.n_fit=16", "explainer.layer=stage3", "classifier.width=8", "dataset.size_px=32"):
        assert digest(iba(tmp_path, other).provenance.statistics) != digest(first.provenance.statistics)
    assert torch.equal(iba(tmp_path).explanation(0).attribution, attribution) and len(calls) == 1


def test_a_plan_names_the_statistics_of_training_images(tmp_path):
    planned = plan_steps(job(tmp_path, "explainer=iba", "sampler=none", "metrics=none", "explainer.n_fit=32"))
    assert [(s.name, s.queries) for s in planned if s.name == "statistics"] == [("statistics", 32)]
    assert not any(
        s.name == "statistics" for s in plan_steps(job(tmp_path, "explainer=saliency", "sampler=none", "metrics=none"))
    )


def record_locks(monkeypatch):
    """The kinds of the artefacts whose locks are held at once, for each lock that is taken."""
    taken, held, lock = [], [], Store.lock

    @contextmanager
    def recorded(store, path, wait=True):
        with lock(store, path, wait) as waited:
            held.append(path.parts[-3])
            taken.append(tuple(held))
            yield waited
            held.pop()

    monkeypatch.setattr(Store, "lock", recorded)
    return taken


ANEW = [
    ("explainer=iba", "sampler=none", "explainer.n_fit=32"),
    ("explainer=lime",),
    ("explainer=rise", "sampler=black"),
]


@pytest.mark.parametrize("overrides", ANEW)
def test_explaining_again_gives_what_is_stored_and_counts_queries(tmp_path, overrides):
    made = job(tmp_path, *overrides, "metrics=none")
    stored, size = made.explanation(0), made.selection.group_size(0)
    box = view(made.parts.classifier, "white_box", 8)
    again = ExplainAgain(made, 0, slice(0, size), box)()
    assert torch.allclose(again.attribution, stored.attribution, atol=1e-5) and box.queries > 0
    same_images = ExplainAgain(made, 0, slice(1, size), box)(images=made.batch(0).image[1:])
    assert torch.allclose(same_images.attribution, stored.attribution[1:], atol=1e-5)

    def forget(network):
        for parameter in network.parameters():
            parameter.zero_()

    before = made.parts.classifier.digest()
    assert not torch.allclose(
        ExplainAgain(made, 0, slice(0, size), box)(change=forget).attribution, stored.attribution, atol=1e-5
    )
    assert made.parts.classifier.digest() == before


def test_metrics_that_explain_again_run_in_a_job(tmp_path):
    run(
        config(
            tmp_path,
            "explainer=saliency",
            "sampler=none",
            "metrics=[sanity,robustness]",
            "metrics.max_sensitivity.n_neighbours=2",
        )
    )
    (columns,) = all_scores(tmp_path).values()
    assert all(v is not None and v == v for name in ("sanity_check", "max_sensitivity") for v in columns[name])
    assert all(v is None or v != v for v in columns["completeness"])


@pytest.mark.parametrize("overrides", ANEW)
def test_metrics_that_explain_again_hold_one_lock_at_a_time(tmp_path, monkeypatch, overrides):
    options = (*overrides, "metrics=[sanity,robustness]", "metrics.max_sensitivity.n_neighbours=2", "n_images=2")
    job(tmp_path, *options).explanation(0)
    taken = record_locks(monkeypatch)
    # as if the explanation came from elsewhere: what it was made from is missing
    for kind in ("reference", "perturbation", "prediction"):
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    taken.clear()
    fresh = job(tmp_path, *options)
    for name in ("sanity_check", "max_sensitivity"):
        assert fresh.score(name, 0).meta["queries"] > 0
    assert {len(kinds) for kinds in taken} == {1}


@pytest.mark.parametrize(
    ("options", "nested"), [((), False), (("explainer.n_sources=2", "explainer.n_candidates=16"), True)]
)
def test_parts_are_computed_before_the_lock_of_the_statistics_or_are_the_last_lock(
    tmp_path, monkeypatch, options, nested
):
    """So two processes cannot wait for each other. Parts around a source that the classifier chooses are known late."""
    taken = record_locks(monkeypatch)
    job(tmp_path, "explainer=gcd", *DIRECTIONS, *options).statistics.explainer()
    assert {("reference",), ("reference", "part") if nested else ("part",)} <= set(taken)
    assert set(taken) <= {("reference",), ("part",), ("reference", "part")}
    assert nested or ("reference", "part") not in taken


DIRECTIONS = (
    "sampler=none",
    "metrics=none",
    "networks=tiny",
    "generator.weights=null",
    "explainer.perceptual.weights=null",
    "explainer.chunk=8",
    "explainer.n_renders=24",
    "explainer.random_flips=null",
    "dataset=portraits",
    "dataset.size_px=32",
    "dataset.label=Smiling",
)


def test_jobs_that_need_the_same_search_share_it(tmp_path, monkeypatch):
    """A chunk that another process is at is passed over, and fetched when nothing else is left."""
    explainer, drawn = job(tmp_path, "explainer=gcd", *DIRECTIONS), []
    displace = DirectionSearch.displacements

    def freed_at_the_last(self, k, *more):
        drawn.append(k)
        if k == 2 and held.is_locked:
            held.release()
        return displace(self, k, *more)

    monkeypatch.setattr(DirectionSearch, "displacements", freed_at_the_last)
    folder = digest(explainer.provenance.part(explainer.parts.explainer.rendered))
    held = lock_at(explainer.store.path(ShardKey("part", folder, 1)).with_name(".00001-00.lock"))
    held.acquire()
    shared = explainer.statistics.explainer()
    assert drawn[:3] == [0, 2, 1]  # then the search reads them
    alone = job(tmp_path / "alone", "explainer=gcd", *DIRECTIONS).statistics.explainer()
    assert all(torch.equal(shared[name], alone[name]) for name in alone)


def test_a_status_counts_the_search_that_a_job_rests_on(tmp_path):
    """As the plan does: of the parts of a longer search only those that this one asks for, whoever made them."""
    longer = job(tmp_path, "explainer=gcd", *DIRECTIONS, "explainer.n_renders=40")
    short = job(tmp_path, "explainer=bb_lig", *DIRECTIONS)
    assert "statistics" not in Scores(longer).stages()
    for one in (longer, short):
        one.statistics.explainer()
        (planned,) = (s for s in plan_steps(one) if s.name == "statistics")
        statistics = Scores(one).stages()["statistics"]
        assert (statistics["evaluations"], statistics["queries"]) == (
            planned.evaluations,
            planned.queries,
        ) and statistics["seconds"] > 0


def test_a_status_counts_what_metrics_measure_on_training_images(tmp_path):
    asks = job(tmp_path, "explainer=none", "sampler=black", "metrics=sampler")
    assert "statistics.mahalanobis" not in Scores(asks).stages()
    asks.reference("mahalanobis")
    assert Scores(asks).stages()["statistics.mahalanobis"]["seconds"] > 0


def test_a_killed_search_continues_and_others_start_from_its_renders(tmp_path, monkeypatch):
    drawn, draw = [], DirectionSearch.render
    monkeypatch.setattr(DirectionSearch, "render", lambda self, *rows: drawn.append(1) or draw(self, *rows))
    left = [2]

    def killed(self, *rows):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return draw(self, *rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DirectionSearch, "render", killed)
        job(tmp_path, "explainer=gcd", *DIRECTIONS).statistics.explainer()
    first = job(tmp_path, "explainer=gcd", *DIRECTIONS).statistics.explainer()
    assert len(drawn) == 2  # the last of three chunks, and the source's reconstruction
    whole = job(tmp_path / "elsewhere", "explainer=gcd", *DIRECTIONS).statistics.explainer()
    assert all(torch.equal(first[name], whole[name]) for name in whole)
    drawn.clear()
    shared = job(tmp_path, "explainer=bb_lig", *DIRECTIONS)
    assert digest(shared.provenance.statistics) == digest(
        job(tmp_path, "explainer=gcd", *DIRECTIONS, "explainer.rule=first_flip").provenance.statistics
    )
    shared.statistics.explainer()
    assert not drawn
    job(tmp_path, "explainer=gcd", *DIRECTIONS, "explainer.proxy.widths=[8]").statistics.explainer()
    job(tmp_path, "explainer=gcd", *DIRECTIONS, "classifier.width=8").statistics.explainer()
    assert len(drawn) == 2  # their reconstructions: no render is made again


def test_renders_serve_every_label_and_classifier():
    """What is rendered around a source rests on images alone: jobs for smiles and for age have the same parts, and
    searches of their own."""
    from pomelo_lab.config.fingerprint import digest
    from pomelo_lab.results.grid import cells

    jobs = [cell.job for cell in cells("gcd_table1", ["scale=smoke", "method=gcd_lambda"])]
    assert [job.config["dataset"]["label"] for job in jobs] == ["Smiling", "Young"]
    for arguments in (jobs[0].parts.explainer.rendered, jobs[0].parts.explainer.walked):
        assert len({digest(job.provenance.part(arguments)) for job in jobs}) == 1
    assert len({digest(job.provenance.statistics) for job in jobs}) == 2
