"""A fingerprint holds what determines a result, and nothing else."""

from __future__ import annotations

import pytest

from pomelo_lab.config.fingerprint import canonical, digest, file_digest

BLUR = "pomelo_lab.sampler.blur.BlurSampler"
FOLDER = "pomelo_lab.dataset.image_folder.ImageFolder"


def test_defaults_order_and_number_types_do_not_matter():
    forms = [{"_target_": BLUR}, {"_target_": BLUR, "sigma_px": 5}, {"sigma_px": 5.0, "rate": 0.5, "_target_": BLUR}]
    assert len({digest(canonical(form)) for form in forms}) == 1


def test_every_value_matters():
    assert digest(canonical({"_target_": BLUR, "sigma_px": 4})) != digest(canonical({"_target_": BLUR}))


def test_where_files_lie_does_not_matter():
    one, other = ({"_target_": FOLDER, "root": root} for root in ("/a", "/b"))
    assert canonical(one) == canonical(other)


def test_weights_count_by_content(tmp_path):
    target = "pomelo_lab.classifier.residual.ResidualClassifier"
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    forms = [digest(canonical({"_target_": target, "weights": str(tmp_path / name)})) for name in "abc"]
    assert forms[0] == forms[1] != forms[2]


def test_a_changed_file_changes_its_digest(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"1")
    before = file_digest(path)
    path.write_bytes(b"22")
    assert file_digest(path) != before


def test_a_nan_is_not_a_value():
    with pytest.raises(ValueError):
        digest({"x": float("nan")})
