"""Costs add up, multiply, and stay upper limits; durations are texts."""

import pytest

from pomelo_lab.cost import Cost, format_duration


def test_costs_add_up_and_multiply():
    once, more = Cost(queries=2, evaluations=3, bytes=5), Cost(queries=1, at_most=True)
    assert once + more == Cost(3, 3, 5, at_most=True)
    assert 4 * once == once * 4 == Cost(8, 12, 20)
    assert 0 * once + Cost() == Cost() and 2 * once - once == once
    assert (3 * more).at_most


@pytest.mark.parametrize(("seconds", "text"), [(7.2, "7 s"), (180.0, "3 min"), (9000.0, "2.5 h")])
def test_seconds_for_people(seconds, text):
    assert format_duration(seconds) == text
