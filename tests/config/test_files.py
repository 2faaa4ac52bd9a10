"""Hydra reads each config file once in a process, and again when it has changed."""

import os

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import ConfigCompositionException

from pomelo_lab.config.files import replace_reader

replace_reader()


def composed(folder):
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("main")


def test_jobs_share_no_values(tmp_path):
    (tmp_path / "main.yaml").write_text("numbers: [1, 2]\n")
    first = composed(tmp_path)
    first.numbers[0] = 5
    assert composed(tmp_path).numbers == [1, 2]


def test_jobs_share_no_values_of_schemas(tmp_path):
    ConfigStore.instance().store(name="numbers_of_a_test", node={"numbers": [1, 2]})
    (tmp_path / "main.yaml").write_text("defaults: [numbers_of_a_test]\n")
    first = composed(tmp_path)
    first.numbers[0] = 5
    assert composed(tmp_path).numbers == [1, 2]


def test_an_edited_file_is_read_again(tmp_path):
    file = tmp_path / "main.yaml"
    for value in (1, 2):
        file.write_text(f"number: {value}\n")
        os.utime(file, ns=(value, value))
        assert composed(tmp_path).number == value


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"a: 1\nb: [2\n", "line 3: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\na: 2\n", "line 2: found duplicate key a"),
        (b"a: \xff\n", "'utf-8' codec can't decode byte 0xff in position 3: invalid start byte"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_line(tmp_path, content, line):
    file = tmp_path / "main.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigCompositionException) as error:
        composed(tmp_path)
    assert str(error.value).startswith(str(file)) and str(error.value).endswith(line)
