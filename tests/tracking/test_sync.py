"""Only finished jobs are uploaded, each once, the newest run of each."""

from __future__ import annotations

import json
import sys

from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.tracking.sync import find_pending, sync


def offline(root, stamp, fingerprint, state):
    folder = root / "wandb" / f"offline-run-{stamp}-{fingerprint}"
    folder.mkdir(parents=True)
    status = root / "score" / fingerprint / "status.json"
    status.parent.mkdir(parents=True, exist_ok=True)
    (status.parent / "summary.json").write_text("{}")
    files = {"summary.json": file_digest(status.parent / "summary.json")}
    status.write_text(json.dumps({"state": state, "fingerprint": fingerprint, "files": files}))
    return folder


def test_the_newest_run_of_each_finished_job_is_pending(tmp_path):
    offline(tmp_path, "20260101_000000", "aaaa", "done")
    newer = offline(tmp_path, "20260102_000000", "aaaa", "done")
    offline(tmp_path, "20260101_000000", "bbbb", "failed")
    offline(tmp_path, "20260101_000000", "cccc", "running")
    assert find_pending(tmp_path) == [newer]


def test_an_upload_is_noted_and_a_failed_one_is_tried_again(tmp_path):
    offline(tmp_path, "20260101_000000", "aaaa", "done")
    assert sync(tmp_path, (sys.executable, "-c", "raise SystemExit(1)")) == 1
    assert sync(tmp_path, (sys.executable, "-c", "")) == 0
    assert find_pending(tmp_path) == []


def test_the_table_of_a_grid_is_pending_too(tmp_path):
    (tmp_path / "wandb" / "offline-run-20260101_000000-tableabcd").mkdir(parents=True)
    assert [folder.name.rpartition("-")[2] for folder in find_pending(tmp_path)] == ["tableabcd"]


def test_a_failure_has_its_reason_and_one_that_all_share_ends_the_upload(tmp_path, capsys):
    for k, name in enumerate(("aaaa", "bbbb", "cccc")):
        offline(tmp_path, f"2026010{k}_000000", name, "done")
    command = (
        "import sys; open(sys.argv[1] + '/asked', 'w'); print('wandb: Syncing'); sys.exit('Error: No API key "
        "configured.')"
    )
    assert sync(tmp_path, (sys.executable, "-c", command)) == 3
    told = capsys.readouterr().err
    assert (
        told.count("not uploaded") == 1 and "Error: No API key configured." in told and "3 of 3 runs are left" in told
    )
    assert len(list(tmp_path.glob("wandb/*/asked"))) == 1
    assert sync(tmp_path, (sys.executable, "-c", "raise SystemExit('error: this file is broken')")) == 3
    assert capsys.readouterr().err.count("this file is broken") == 3
    assert sync(tmp_path, (sys.executable, "-c", "import time; time.sleep(60)"), limit_s=0.2) == 3
    assert "no answer within" in capsys.readouterr().err


def test_a_folder_that_does_not_exist_is_no_folder_without_runs(tmp_path, capsys):
    assert sync(tmp_path / "nowhere") == 1
    assert f"the outputs folder {tmp_path / 'nowhere'} does not exist" in capsys.readouterr().err
    assert sync(tmp_path) == 0
