"""Every explainer gives the same numbers for any batch size and number of threads: what remains of rounding is stated
here and in README."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import every

# whose next step depends on the last: to the last bit
SEARCHES = ("flow_counterfactual", "gcd", "bb_lig", "dime", "ace")
REST = 1e-5  # of the largest value of a map: kernels, whose order of sums depends on the number of rows and of threads


def explained(name: str, outputs: Path, batch_size: int = 64) -> dict[str, Tensor]:
    return every.job(outputs, *every.chosen("explainer", name), f"batch_size={batch_size}").explanation(0).tensors()


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    for key in {"attribution", "counterfactual"} & set(one):
        scale = float(one[key].abs().max())
        torch.testing.assert_close(
            other[key], one[key], atol=tolerance * scale, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


@pytest.mark.parametrize("name", every.NAMES["explainer"])
def test_batches_of_one_image_and_of_many(name, tmp_path):
    many = every.explained(name).explanation(0).tensors()
    assert_same(many, explained(name, tmp_path / "single", 1), 0.0 if name in SEARCHES else REST)


@pytest.mark.parametrize("name", ["lime", "iba", "dime"])
def test_threads(name, tmp_path):
    one = every.explained(name).explanation(0).tensors()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_same(one, explained(name, tmp_path / "two"), REST)
    finally:
        torch.set_num_threads(before)
