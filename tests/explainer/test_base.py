"""What the base class of explainers finds out by itself."""

from dataclasses import dataclass

import pytest
import torch

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.types import Explanation
from tests.running import config


@dataclass(kw_only=True)
class Measured(Explainer):
    """The mean of some training images, and nothing said about which arguments decide it."""

    n_fit: int = 4
    factor: float = 1.0

    def explain(self, case):
        return Explanation(case.target, self.factor * case.reference["mean"].expand(len(case), -1, -1))

    def fit(self, training, classifier):
        return {"mean": training.batch(range(self.n_fit)).image.mean((0, 1))}


def test_statistics_are_known_by_the_method_that_measures_them():
    assert Measured().fits and IBAExplainer().fits and not LimeExplainer().fits


def test_a_job_measures_for_a_class_that_overrides_fit_and_shares_it_where_all_arguments_agree(tmp_path):
    def made(**given):
        settings = config(tmp_path, "explainer=saliency", "sampler=none", "metrics=none")
        node = {"_target_": "tests.explainer.test_base.Measured", **given}
        return Job({**settings, "explainer": node}, Store(tmp_path))

    first = made(n_fit=2)
    mean = first.parts.dataset.at("train").batch(range(2)).image.mean((0, 1))
    assert torch.allclose(first.explanation(0).attribution[0].cpu(), mean)
    digests = [digest(made(**given).provenance.statistics) for given in ({"n_fit": 2}, {"n_fit": 3}, {"factor": 2.0})]
    assert digest(first.provenance.statistics) == digests[0] and len(set(digests)) == 3


def test_arguments_of_the_fit_that_the_class_does_not_have_are_refused_by_name():
    with pytest.raises(TypeError, match="Wrong.fit_arguments names n_images"):

        class Wrong(Measured):
            fit_arguments = frozenset({"n_images", "n_fit"})
