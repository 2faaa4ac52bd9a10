"""A composition is repeated when a file or a variable that it can read has changed."""

import pytest

from pomelo_lab.config.surroundings import is_constant, surroundings, yaml_files


def test_files_below_links_are_read_and_hidden_folders_are_not(tmp_path):
    for name in ("conf/sampler", "conf/.git", "elsewhere/deep"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.yaml").write_text("a: 1\n")
    (tmp_path / "conf" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "conf" / "round").symlink_to(tmp_path / "conf")
    names = {str(path.relative_to(tmp_path / "conf")) for path in yaml_files(tmp_path / "conf")}
    assert names == {"sampler/a.yaml", "linked/deep/a.yaml"}


def test_a_variable_is_known_by_the_name_in_a_file_or_an_override(tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_OF_A_TEST", "1")
    monkeypatch.setenv("TWO_OF_A_TEST", "2")
    (tmp_path / "a.yaml").write_text("a: ${oc.env:ONE_OF_A_TEST}\n")
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", "seed=${oc.env: TWO_OF_A_TEST}"]
    read = surroundings(overrides)["environment"]
    assert (read["ONE_OF_A_TEST"], read["TWO_OF_A_TEST"]) == ("1", "2") and "POMELO_ROOT" in read
    assert "ONE_OF_A_TEST" not in surroundings([])["environment"]
    assert "ONE_OF_A_TEST" in surroundings(["seed=${oc.env:${name}}"])["environment"], "the name is computed: all"


@pytest.mark.parametrize(("text", "constant"), [("a=${b}", True), ("a=${oc.env:B}", True), ("a=${ now:%Y}", False)])
def test_the_time_is_no_constant(text, constant):
    assert is_constant(text) is constant
