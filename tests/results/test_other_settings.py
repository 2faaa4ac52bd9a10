import json

from omegaconf import OmegaConf

from pomelo_lab.engine.score_files import read_status
from pomelo_lab.results.other_settings import find_other_settings
from tests.results.fake import FakeCell

ASKED = {"n_images": 64, "seed": 0, "dataset": {"_target_": "d", "size_px": 64, "spurious": {"rate": 0.5}}}
CHOICES = {"scale": "quick", "dataset": "portraits", "sampler": "gray", "experiment": "pomelo_table1"}


def store(outputs, name, choices=(), state="done", **changes):
    """A job's score folder with its config and status."""
    folder = outputs / "score" / name
    folder.mkdir(parents=True)
    config = {**ASKED, **changes, "choices": {**CHOICES, **dict(choices)}}
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (folder / "status.json").write_text(json.dumps({"state": state, "fingerprint": name, "files": {}}))


def test_finished_jobs_of_the_preset_are_grouped_by_what_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pomelo_lab.results.other_settings.read_status", lambda folder: json.loads((folder / "status.json").read_text())
    )
    cell = FakeCell(CHOICES, point={"sampler": "blur"}, config=ASKED)
    store(tmp_path, "a", n_images=8)
    store(tmp_path, "b", n_images=8, choices={"sampler": "mean"})
    store(tmp_path, "c", n_images=4, choices={"scale": "smoke"})
    store(tmp_path, "d", dataset={**ASKED["dataset"], "spurious": {"rate": 0.9}})
    store(tmp_path, "e", n_images=2, state="failed")
    store(tmp_path, "f", n_images=2, choices={"experiment": "other"})
    store(tmp_path, "g", choices={"sampler": "mean"})
    found = find_other_settings("pomelo_table1", cell, tmp_path)
    assert found[0] == (("n_images=8",), 2)
    assert dict(found[1:]) == {("scale=smoke",): 1, ("dataset.spurious.rate=0.9",): 1}
    assert find_other_settings("pomelo_table1", cell, tmp_path / "absent") == []
    assert read_status(tmp_path / "score" / "e")["state"] == "failed"
