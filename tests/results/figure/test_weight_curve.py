import math

from pomelo_lab.results.figure.weight_curve import labels, share


def test_labels_that_would_lie_on_each_other_are_one():
    assert labels([0, 30, 1000], [(0.4, 0.9), (0.41, 0.9), (0.7, 0.5)]) == [
        ("0; 30", (0.4, 0.9)),
        ("1,000", (0.7, 0.5)),
    ]


def test_shares_with_their_interval():
    assert share({"a": {"mean": 0.5, "std": 0.5, "n": 25}}, "a") == (0.5, 1.96 * 0.1)
    assert math.isnan(share({}, "a")[0])
