import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.metric.attribute_change import MNAC, CorrelationDifference, FactorError, TargetSeen, correlations
from tests.metric.counterfactuals import case_of
from tests.tiny import TinyLinear

NAMES = ("Smiling", "Young", "Male")
DATA = SimpleNamespace(attribute_names=NAMES, class_names=("no", "yes"))


def oracle():
    """Attribute k is the brightness of channel k."""
    weight = torch.zeros(3, 3, 8, 8, dtype=torch.float64)
    for k in range(3):
        weight[k, k] = 1.0
    return TinyLinear(weight=weight, bias=torch.full((3,), -32.0, dtype=torch.float64), output="sigmoid")


def painted(rows):
    """Images whose attributes are these."""
    return torch.tensor(rows).float()[:, :, None, None].expand(-1, 3, 8, 8).clone()


def metric(kind, **options):
    made = object.__new__(kind)
    defaults = {
        "n_images": None,
        "population": "successes",
        "dataset": DATA,
        "oracle": oracle(),
        "attribute": "Smiling",
        "n_resamples": 200,
    }
    vars(made).update({**defaults, **options})
    return made


BEFORE = [[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]]
AFTER = [[1, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1]]


def painted_case(attributes):
    """Images before and after, with their true attributes."""
    case = case_of(image=painted(BEFORE), counterfactual=painted(AFTER))
    return replace(case, batch=replace(case.batch, attributes=attributes))


def test_attributes_that_change():
    case = case_of(image=painted(BEFORE), counterfactual=painted(AFTER), flipped=torch.tensor([1.0, 1, 1, 0]))
    assert metric(MNAC).score(case)["value"][:3].tolist() == [2, 1, 2] and metric(MNAC).score(case)["value"][3].isnan()


def smiles(attribute="Smiling"):
    """The explained classifier: class 1 = the channel of the attribute is bright, as the oracle sees it."""
    weight = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    weight[1, NAMES.index(attribute)] = 1.0
    return TinyLinear(weight=weight, bias=torch.tensor([0.0, -32.0], dtype=torch.float64))


def test_an_image_that_fools_the_classifier_alone_shows_no_target():
    """Brightness is what is seen; the last image is no success."""
    flipped = torch.tensor([1.0, 1, 1, 0])
    case = case_of(image=painted(BEFORE), counterfactual=painted(AFTER), flipped=flipped, classifier=smiles())
    seen = metric(TargetSeen)
    assert seen.score(case)["value"][:3].tolist() == [1, 1, 1] and seen.summarize(seen.score(case), {}).n == 3
    case = case_of(image=painted(BEFORE), counterfactual=painted(AFTER), flipped=flipped, classifier=smiles("Young"))
    young = metric(TargetSeen, attribute="Young").score(case)["value"]
    assert young[:3].tolist() == [1, 0, 0] and young[3].isnan()
    same = case_of(image=painted(BEFORE), counterfactual=painted(BEFORE), classifier=smiles())
    assert (
        metric(TargetSeen).score(same)["value"].tolist() == [0, 0, 0, 0] == metric(MNAC).score(same)["value"].tolist()
    )


@pytest.mark.parametrize("goal", [0, 1])
def test_a_change_away_from_the_goal_is_not_seen(goal):
    """Where the oracle sees the goal in the image already, against the classifier, the image is left out and
    counted."""
    before, after = (
        [[1 - goal, 0, 0], [1 - goal, 0, 0], [goal, 0, 0], [goal, 0, 0]],
        [[goal, 0, 0], [1 - goal, 1, 0], [1 - goal, 0, 0], [goal, 1, 1]],
    )
    case = case_of(image=painted(before), counterfactual=painted(after), classifier=smiles())
    # the classifier took the last two for the other class
    case.explanation.extra["goal"] = torch.full((4,), float(goal))
    seen = metric(TargetSeen)
    rows = seen.score(case)
    assert rows["value"][:2].tolist() == [1, 0] and bool(rows["value"][2:].isnan().all())
    assert rows["counted"].tolist() == [1, 1, 0, 0]
    summary = seen.summarize(rows, {})
    assert (summary.mean, summary.n, summary.n_nan, summary.details) == (0.5, 2, 0, {"left_out": 2.0})


def test_the_class_that_has_the_attribute():
    """By its name, wherever it stands; of two others the second; of more others none."""
    named = SimpleNamespace(attribute_names=NAMES, class_names=("Smiling", "sad", "Male"))
    assert [metric(TargetSeen, dataset=named, attribute=name).present(3) for name in ("Smiling", "Male")] == [0, 2]
    assert metric(TargetSeen).present(2) == 1
    with pytest.raises(ValueError, match="the name of a class .*, got 'Young'"):
        metric(TargetSeen, dataset=named, attribute="Young").present(3)


def test_what_else_changes():
    case = case_of(image=painted(BEFORE), counterfactual=painted(AFTER), classifier=smiles())
    whole, rest, seen = (
        metric(kind, **more).score(case)["value"]
        for kind, more in ((MNAC, {}), (MNAC, {"without": "Smiling"}), (TargetSeen, {}))
    )
    assert rest.tolist() == [1, 0, 1, 2] and torch.equal(rest + seen, whole)
    with pytest.raises(ValueError, match="attribute must be one of Smiling, Young, Male, got 'Old'"):
        metric(MNAC, without="Old").counts  # noqa: B018


def test_labels_are_read_without_images():
    """All of them: 20,000 decoded images gave a standard error of the size of the paper's whole difference."""

    class Listed:
        attribute_names = NAMES

        def __len__(self):
            return 50000

        def order(self):
            return torch.arange(50000)

        def read_attributes(self, rows):
            self.asked = len(rows)
            return torch.tensor(BEFORE, dtype=torch.bool)[torch.tensor(rows) % 4]

    training = Listed()
    whole = metric(CorrelationDifference, n_labels=None).fit(training, None, None)["correlation"]
    assert training.asked == 50000
    torch.testing.assert_close(whole, torch.from_numpy(np.corrcoef(np.array(BEFORE).T)[0]))
    data = Portraits()
    assert torch.equal(data.read_attributes(range(7)), data.unmasked(range(7)).attributes)


def test_correlation_difference_by_numpy():
    rng = np.random.default_rng(0)
    before, after = (rng.integers(0, 2, (60, 3)).tolist() for _ in range(2))
    case = case_of(image=painted(before), counterfactual=painted(after))
    truth = torch.tensor([1.0, 0.3, -0.2], dtype=torch.float64)
    summary = metric(CorrelationDifference).summarize(metric(CorrelationDifference).score(case), {"correlation": truth})
    expected = np.abs(np.corrcoef((np.array(after) - np.array(before)).T)[0] - truth.numpy()).sum()
    assert summary.mean == pytest.approx(expected, abs=1e-12) and summary.n == 60
    assert summary.details["low"] < summary.mean < summary.details["high"] and summary.details["never_changed"] == 0


def test_only_the_attributes_that_are_asked_for_count():
    case = painted_case(torch.tensor(BEFORE).bool())
    assert metric(MNAC, among=["Young", "Male"], population="all").score(case)["value"].tolist() == [1, 0, 1, 2]
    shares = metric(MNAC, among=["Young", "Male"], population="all", share=True).score(case)["value"]
    # of as many as count: data sets with other numbers of attributes compare
    assert shares.tolist() == [0.5, 0, 0.5, 1]
    assert metric(FactorError, among=["Male"], population="all").score(case)["value"].tolist() == [0, 0, 1, 1]
    truth = torch.tensor([1.0, 0.3, -0.2], dtype=torch.float64)
    score = metric(CorrelationDifference, population="all").score(case)
    parts = [
        metric(CorrelationDifference, among=[name]).summarize(score, {"correlation": truth}).mean for name in NAMES
    ]
    assert sum(parts) == pytest.approx(
        metric(CorrelationDifference).summarize(score, {"correlation": truth}).mean, abs=1e-12
    )
    assert len(set(parts)) == 3
    with pytest.raises(ValueError, match="attribute must be one of Smiling, Young, Male, got 'Old'"):
        metric(MNAC, among=["Old"]).counts  # noqa: B018


def test_resampled_correlation_differences_are_those_of_repeated_images():
    """Weights are multiplicities: the weighted statistic is the summary of the images written out as often; one
    attribute never changes."""
    rng = torch.Generator().manual_seed(0)
    change = torch.randint(-1, 2, (12, 3), generator=rng).to(torch.int8)
    change[:, 2] = 0
    rows = {"change": change, "counted": torch.tensor([1.0] * 9 + [0.0] * 3)}
    reference = {"correlation": torch.tensor([1.0, 0.3, -0.2])}
    times = torch.randint(0, 3, (5, 12), generator=rng)
    statistics = metric(CorrelationDifference).resampled(rows, reference, times / times.sum(1, keepdim=True).double())
    for k, row in enumerate(times):
        repeated = {key: value.repeat_interleave(row, 0) for key, value in rows.items()}
        assert float(statistics[k]) == pytest.approx(
            metric(CorrelationDifference).summarize(repeated, reference).mean, abs=1e-9
        )


def test_attributes_that_never_change_correlate_with_nothing():
    change = torch.tensor([[[1.0, 0, 1], [-1.0, 0, -1], [1.0, 0, 0]]])
    correlation = correlations(change, 0)[0]
    assert (
        correlation[1] == 0
        and correlation[0] == pytest.approx(1)
        and correlation[2] == pytest.approx(float(np.corrcoef([1, -1, 1], [1, -1, 0])[0, 1]))
    )
    case = case_of(image=painted(BEFORE), counterfactual=painted(BEFORE))
    correlation = metric(CorrelationDifference).summarize(
        metric(CorrelationDifference).score(case), {"correlation": torch.tensor([1.0, 0.3, -0.2])}
    )
    assert correlation.mean == pytest.approx(1.5) and correlation.details["never_changed"] == 3
    none = case_of(image=painted(BEFORE), counterfactual=painted(AFTER), flipped=torch.zeros(4))
    correlation = metric(CorrelationDifference).summarize(
        metric(CorrelationDifference).score(none), {"correlation": torch.ones(3)}
    )
    assert math.isnan(correlation.mean) and correlation.n == 0


def test_changes_of_random_pairs_correlate_as_the_data_does():
    """The DiME paper, eq. 9: with a perfect oracle and pairs of independent images, the correlation of changes is that
    of the labels."""
    data = Portraits(n_val=4000)
    labels = data.model.attributes(data.factors(range(4000))).double()
    change = labels[:2000] - labels[2000:]
    truth = data.attribute_correlation()
    for name in ("Male", "Young", "Smiling"):
        place = data.attribute_names.index(name)
        assert float((correlations(change[None], place)[0] - truth[place]).abs().max()) < 3.5 / math.sqrt(2000)


def test_the_truth_is_the_causal_model_s():
    data = Portraits()
    made = metric(CorrelationDifference, dataset=data, attribute="Young")
    place = data.attribute_names.index("Young")
    assert torch.equal(made.fit(data, None, None)["correlation"], data.attribute_correlation()[place])


def test_exactly_the_right_attributes():
    truth = torch.tensor(BEFORE, dtype=torch.bool)
    case = painted_case(truth)
    assert metric(FactorError).score(case)["value"].tolist() == [1, 0, 1, 3]
    with pytest.raises(ValueError, match="attribute must be one of Smiling, Young, Male, got 'Old'"):
        metric(FactorError, attribute="Old").score(case)
