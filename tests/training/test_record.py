"""What a training leaves: the rows of its log, each known to be what was written."""

import pytest

from pomelo_lab.files import seal
from pomelo_lab.training.record import CHECKPOINT, LOG, drop_damaged, log_text, mend_log, read_log

ROWS = [{"step": k, "loss": 0.5 / k, "val_accuracy": 0.25} for k in (1, 2, 3)]


def test_rows_come_back_and_damaged_ones_are_left_out(tmp_path, caplog):
    path = tmp_path / LOG
    assert read_log(path) == []
    path.write_text(log_text(ROWS))
    assert read_log(path) == ROWS and not caplog.text
    path.write_text(log_text(ROWS).replace('"step": 2', '"step": 7')[:-10])
    assert read_log(path) == ROWS[:1] and f"{path} is damaged: 2 of its rows are left out" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"\0\0", None])
def test_a_finished_log_is_what_the_card_says(tmp_path, damage):
    if damage is not None:
        (tmp_path / LOG).write_bytes(damage)
    mend_log(tmp_path, ROWS)
    assert read_log(tmp_path / LOG) == ROWS
    mend_log(tmp_path, None)  # a card of an earlier version
    assert read_log(tmp_path / LOG) == ROWS


def test_a_checkpoint_stays_where_it_belongs_and_is_whole(tmp_path, caplog):
    path = tmp_path / CHECKPOINT
    drop_damaged(tmp_path)
    path.write_bytes(b"weights")
    seal(path, tmp_path.name)
    drop_damaged(tmp_path)
    assert path.exists() and not caplog.text
    path.write_bytes(path.read_bytes()[1:])
    drop_damaged(tmp_path)
    assert not path.exists() and "the training begins from its start" in caplog.text
