"""The columns of scores.parquet are those that were written, as pyarrow itself writes and reads them."""

import math
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pomelo_lab.engine.score_files import arrow_array, read_columns, write_columns

COLUMNS = {
    "image_id": ["a", "", "ü/7", None],
    "label": [0, -3, 2**40, None],
    "score": [0.1, None, -0.0, float("inf")],
    "none": [None] * 4,
    "whole": [1.0, 2.0, 3.0, 4.0],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_array_is_that_of_pyarrow(name):
    assert arrow_array(COLUMNS[name]).equals(pa.array(COLUMNS[name]))
    assert arrow_array([]).equals(pa.array([]))


def test_a_file_holds_what_was_written(tmp_path):
    write_columns(tmp_path / "scores.parquet", COLUMNS)
    assert read_columns(tmp_path / "scores.parquet") == COLUMNS
    assert pq.read_table(tmp_path / "scores.parquet").equals(pa.table(COLUMNS))


def test_the_sign_of_zero_and_nan_are_kept(tmp_path):
    write_columns(tmp_path / "scores.parquet", {"score": [-0.0, math.nan]})
    zero, nan = read_columns(tmp_path / "scores.parquet")["score"]
    assert math.copysign(1, zero) == -1 and math.isnan(nan)


def test_no_column_needs_pandas(tmp_path):
    """Its import takes as long as the rest of a small file's reader and writer together."""
    code = (
        "import sys; from pathlib import Path; from pomelo_lab.engine.score_files import *; "
        f"path = Path({str(tmp_path / 'scores.parquet')!r}); "
        "write_columns(path, {'a': ['x', None], 'b': [1.5, None]}); read_columns(path); print('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
