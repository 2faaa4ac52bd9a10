"""What the base class of explainers finds out by itself."""

from dataclasses import dataclass

import pytest

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.iba import IBAExplainer
from pomelo_lab.explainer.lime import LimeExplainer
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class Measured(Explainer):
    n_fit: int = 4

    def explain(self, case):
        return Explanation(case.target, case.reference["mean"])

    def fit(self, training, classifier):
        return {}


def test_statistics_are_known_by_the_method_that_measures_them():
    assert Measured().fits and IBAExplainer().fits and not LimeExplainer().fits


def test_arguments_of_the_fit_that_the_class_does_not_have_are_refused_by_name():
    with pytest.raises(TypeError, match="Wrong.fit_arguments names n_images"):

        class Wrong(Measured):
            fit_arguments = frozenset({"n_images", "n_fit"})
