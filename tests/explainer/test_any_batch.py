"""Every explainer gives the same numbers whatever the batch size: what remains of rounding, by kind, is stated here and in README."""

import pytest
import torch

from tests import every

SEARCHES = ("flow_counterfactual", "gcd", "bb_lig", "dime", "ace")  # whose next step depends on the last: to the last bit
REST = 1e-5  # of the largest value of a map: kernels, whose order of sums depends on the number of rows


@pytest.mark.parametrize("name", every.NAMES["explainer"])
def test_batches_of_one_image_and_of_many(name, tmp_path):
    overrides = every.chosen("explainer", name)
    many, single = (every.job(tmp_path / size, *overrides, f"batch_size={size}").explanation(0).tensors() for size in ("64", "1"))
    for key in {"attribution", "counterfactual"} & set(many):
        scale = float(many[key].abs().max())
        tolerance = 0.0 if name in SEARCHES else REST * scale
        torch.testing.assert_close(single[key], many[key], atol=tolerance, rtol=0, msg=lambda text, key=key: f"{name}, {key}: {text}")
