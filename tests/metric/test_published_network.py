"""No metric bears a published name without the published network's file."""

import pytest
import torch
from torch import nn

from pomelo_lab.config.check import ConfigError
from pomelo_lab.metric.face_verification import FaceSimilarity, FaceVerification
from pomelo_lab.metric.frechet_inception_distance import FrechetInceptionDistance
from pomelo_lab.metric.perceptual import LPIPS, SigmaL
from pomelo_lab.metric.simsiam_similarity import SimSiamSimilarity
from tests.running import config

ALL = [FrechetInceptionDistance, FaceVerification, FaceSimilarity, LPIPS, SigmaL, SimSiamSimilarity]
JOB = ("dataset=portraits", "dataset.size_px=16", "sampler=none", "explainer=ideal_counterfactual")


def test_a_suite_names_every_missing_file_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, *JOB, "metrics=[counterfactual,published]")
    text = str(caught.value)
    assert "5 problems" in text and all(
        f"metrics.{key}.weights must be" in text for key in ("fid", "sfid", "fva", "fs", "lpips")
    )
    assert (
        "metrics.fid.weights must be the Inception of FID (pt_inception-2015-12-05-6726825d.pth), got None; without "
        "one use" in text
    )
    assert (
        "backbone of torchvision (vgg16-397923af.pth), got None; without one use metrics=counterfactual (lpips_oracle)"
        in text
    )
    for suite, key, instead in (
        ("fid_plus", "fid_plus", "fd_plus"),
        ("diversity_lpips", "sigma_l", "metrics=diversity"),
    ):
        with pytest.raises(
            ConfigError, match=rf"metrics.{key}.weights must be .* got None; without one use .*{instead}"
        ):
            config(tmp_path, *JOB, f"metrics={suite}")
    named = [f"metrics.{key}.weights=data" for key in ("fid", "sfid", "lpips")]
    metrics = config(tmp_path, *JOB, "metrics=[counterfactual,published]", *named, "~metrics.fva", "~metrics.fs")[
        "metrics"
    ]
    assert {"fid", "sfid", "lpips", "fd_oracle", "lpips_oracle"} < set(metrics) and not {"fva", "fs"} & set(metrics)


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "resnet50_ft_weight.pkl"
    path.write_bytes(b"never opened")
    with pytest.raises(
        ConfigError,
        match=r"metrics.fva.weights must be a .safetensors or .pth state dict, got .*pkl: "
        r"a pickle is never read",
    ):
        config(tmp_path, *JOB, "metrics=published", f"metrics.fva.weights={path}")
    with pytest.raises(ValueError, match="a pickle is never read"):
        FaceVerification(weights=str(path))


@pytest.mark.parametrize("metric", ALL)
def test_wrong_files_are_named_with_their_key(metric, tmp_path):
    with pytest.raises(ValueError, match=f"metric {metric.__name__}: weights: there is no file .*nowhere.pth"):
        metric(weights=str(tmp_path / "nowhere.pth"))
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"metric {metric.__name__}: weights: .*other.pth does not fit"):
        metric(weights=str(tmp_path / "other.pth"))
