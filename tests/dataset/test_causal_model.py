import pytest
import torch

from pomelo_lab.dataset.causal_model import CausalModel, choice, mix


def test_mix_is_splitmix64():
    # reference: splitmix64 seeded with 0 gives 0xE220A8397B1DCDAF first
    step = torch.tensor(-0x61C8864680B583EB)
    assert int(mix(step)) & (2**64 - 1) == 0xE220A8397B1DCDAF


def test_probability_agrees_with_enumeration_by_hand():
    model = CausalModel(
        (
            choice("a", "person", ("no", "yes"), (0.7, 0.3)),
            choice("c", "person", ("no", "yes"), (0.5, 0.5)),
            choice(
                "b",
                "person",
                ("no", "yes"),
                {("yes", "no"): (0.2, 0.8), ("no", "no"): (0.9, 0.1), ("*", "yes"): (0.4, 0.6)},
                ["c", "a"],
            ),
        ),
        {},
    )
    yes = {name: {name: ("yes",)} for name in "abc"}
    assert model.probability(yes["b"]) == pytest.approx(0.7 * 0.5 * (0.8 + 0.1) + 0.3 * 0.6, abs=1e-12)
    assert model.probability(yes["b"], yes["c"]) == pytest.approx(0.5 * (0.7 * 0.8 + 0.3 * 0.6), abs=1e-12)
    assert model.probability(yes["b"], {"b": ("no",)}) == 0


def test_bad_rates_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        CausalModel((choice("a", "person", ("no", "yes"), (0.7, 0.2)),), {})
