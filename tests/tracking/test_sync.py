"""Only finished jobs are uploaded, each once, the newest run of each."""

from __future__ import annotations

import json
import sys

from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.tracking.sync import pending, sync


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
    assert pending(tmp_path) == [newer]


def test_an_upload_is_noted_and_a_failed_one_is_tried_again(tmp_path):
    offline(tmp_path, "20260101_000000", "aaaa", "done")
    assert sync(tmp_path, (sys.executable, "-c", "raise SystemExit(1)")) == 1
    assert sync(tmp_path, (sys.executable, "-c", "")) == 0
    assert pending(tmp_path) == []
