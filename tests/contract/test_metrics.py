"""What holds for every metric of every suite; `pomelo_lab.conformance.metric` says it."""

from pathlib import Path

import pytest
import torch

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.suites import drop_held
from pomelo_lab.conformance.cost import ensure_all_is_planned
from pomelo_lab.conformance.metric import RULES
from pomelo_lab.conformance.trial import Trial, judge
from pomelo_lab.metric.face_verification import resnet
from pomelo_lab.metric.frechet_inception_distance import inception
from pomelo_lab.metric.simsiam_similarity import encoder
from scripts.check_conf import job_with
from tests import every
from tests.metric.networks import backbone, lively

# networks whose published weights no test can have: suites are tried with made-up weights in the published layout
NETWORKS = {"fid": inception, "sfid": inception, "fid_plus": inception, "fva": resnet, "fs": resnet, "s3": encoder}
LARGE = ("fid_plus", "published")
# a suite inside another one has nothing that is not tried there
SUITES = [s for s in drop_held(sorted(p.stem for p in Path(CONF, "metrics").glob("*.yaml")), ()) if s != "none"]
CHOSEN = {
    "latents": ("sampler=ddim",),
    "mark": ("dataset.spurious.attribute=Smiling",),
    "direction_diversity": (*every.DIRECTIONS[1:], "explainer.direction=h"),
    "code": every.DIRECTIONS[1:],
}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Writes the made-up weights of a metric's network once: metric's key -> (the file, further overrides)."""
    folder = tmp_path_factory.mktemp("weights")

    def write(key: str) -> list[str]:
        build = NETWORKS.get(key)
        path = folder / f"{build.__module__ if build else 'squeeze'}.pth"
        if not path.exists():
            torch.save((lively(build()) if build else backbone("squeeze")).state_dict(), path)
        return [f"metrics.{key}.weights={path}", *([] if build else [f"metrics.{key}.net=squeeze"])]

    return write


@pytest.mark.parametrize("suite", [pytest.param(s, marks=[pytest.mark.slow] if s in LARGE else []) for s in SUITES])
def test_every_metric(suite, tmp_path, weights_file):
    overrides = [*job_with("metrics", suite), *CHOSEN.get(suite, ())]
    for text in list(overrides):
        if text.endswith(".weights=data"):
            overrides += weights_file(text.split(".")[1])
    job = every.job(tmp_path, *every.PORTRAITS, "networks=tiny", "n_images=3", *overrides)
    broken = {}
    for name, metric in job.parts.metrics.items():
        trial = Trial(metric, job, f"metrics.{name}", job.config["metrics"][name])
        if verdicts := [verdict for verdict in judge(RULES, trial) if verdict.state == "fail"]:
            broken[name] = verdicts
    assert not broken
    ensure_all_is_planned(job)
