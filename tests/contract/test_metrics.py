"""What holds for every metric of every suite; `pomelo_lab.conformance.metric` says it."""

from pathlib import Path

import pytest
import torch
import torchvision

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.suites import drop_held
from pomelo_lab.conformance.cost import ensure_all_is_planned
from pomelo_lab.conformance.metric import RULES, does_not_depend_on_the_batch
from pomelo_lab.conformance.trial import Trial, judge, title
from scripts.check_conf import job_with
from tests import every

FILES = ("fid_plus", "published", "s3")  # suites of networks whose files are not here; they ask the classifier nothing
BACKBONES = {"lpips": "removal_lpips", "diversity_lpips": "sigma_l"}  # the file is made
# a suite inside another one has nothing that is not tried there
SUITES = [
    s for s in drop_held(sorted(p.stem for p in Path(CONF, "metrics").glob("*.yaml")), ()) if s not in ("none", *FILES)
]
CHOSEN = {
    "latents": ("sampler=ddim",),
    "mark": ("dataset.spurious.attribute=Smiling",),
    "direction_diversity": (*every.DIRECTIONS[1:], "explainer.direction=h"),
    "code": every.DIRECTIONS[1:],
}
# metrics whose tensors depend on the batch, with the reason
COMPARED = "its null compares the map of an image with that of another image of the batch"
DEPENDS = {
    "sanity_check": COMPARED,
    **dict.fromkeys(
        ("sensitivity_ssim_null", "sensitivity_hog_null", "sensitivity_spearman_null", "sensitivity_ssim_authors_null"),
        COMPARED,
    ),
    "perturbing_time": "it measures seconds",
}


@pytest.mark.parametrize("suite", SUITES)
def test_every_metric(suite, tmp_path):
    chosen = CHOSEN.get(suite, ())
    if name := BACKBONES.get(suite):
        torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "backbone.pth")
        chosen = (f"metrics.{name}.weights={tmp_path}/backbone.pth", f"metrics.{name}.net=squeeze")
    job = every.job(tmp_path, *every.PORTRAITS, "networks=tiny", "n_images=3", *job_with("metrics", suite), *chosen)
    broken = {}
    for name, metric in job.parts.metrics.items():
        trial = Trial(metric, job, f"metrics.{name}", job.config["metrics"][name])
        allowed = {title(does_not_depend_on_the_batch)} if name in DEPENDS else set()
        verdicts = [v for v in judge(RULES, trial) if v.state == "fail" and v.rule not in allowed]
        broken |= {name: verdicts} if verdicts else {}
    assert not broken
    ensure_all_is_planned(job)
