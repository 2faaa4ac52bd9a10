"""Localisation and randomisation metrics against Quantus."""

import numpy as np
import pytest
import torch

from pomelo_lab.metric.relevance import RelevanceMass, RelevanceRank
from pomelo_lab.metric.sanity_check import SanityCheck
from tests.explainer.gradients import rectified
from tests.explainer.removing import TARGET
from tests.metric import test_localization, test_sanity_check
from tests.tiny import tiny_batch

pytestmark = pytest.mark.parity
quantus = pytest.importorskip("quantus")


@pytest.mark.parametrize("name", ["RelevanceMassAccuracy", "RelevanceRankAccuracy"])
def test_mass_and_rank(name):
    maps = torch.rand(4, 10, 10, generator=torch.Generator().manual_seed(0))
    mask = torch.stack([test_localization.square(i, 2) for i in range(4)]).bool()
    theirs = getattr(quantus, name)(disable_warnings=True, normalise=False)(
        model=None,
        x_batch=np.zeros((4, 1, 10, 10)),
        y_batch=np.zeros(4, int),
        a_batch=maps[:, None].numpy(),
        s_batch=mask[:, None].numpy(),
    )
    ours = (RelevanceMass() if "Mass" in name else RelevanceRank()).score(test_localization.case_of(maps, mask))[
        "value"
    ]
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-6)


def test_randomisation_layer_by_layer(monkeypatch):
    """Same random weights, same maps: the rank correlations of every stage."""

    def theirs_seeded(self, network, names):
        for name in names:
            torch.manual_seed(43)
            network.get_submodule(name).reset_parameters()

    def explain(model, inputs, targets, **_):
        classifier = rectified()
        classifier.network.load_state_dict(model.state_dict())
        return test_sanity_check.saliency(classifier)[:, None].numpy()

    case, _ = test_sanity_check.case_of(test_sanity_check.saliency)
    monkeypatch.setattr(SanityCheck, "randomise", theirs_seeded)
    ours = SanityCheck(similarity="spearman", absolute=True).score(case)["spearman"]
    metric = quantus.MPRT(
        similarity_func=quantus.similarity_func.correlation_spearman, seed=42, disable_warnings=True, normalise=False
    )
    images = tiny_batch(3).image.double().numpy()
    quantus_scores = metric(
        model=rectified().network,
        x_batch=images,
        y_batch=TARGET.numpy(),
        a_batch=None,
        explain_func=explain,
        channel_first=True,
    )
    stages = [np.asarray(quantus_scores[key]) for key in ("6", "3", "0")]
    np.testing.assert_allclose(ours.numpy(), np.stack(stages, 1), rtol=0, atol=1e-6)
