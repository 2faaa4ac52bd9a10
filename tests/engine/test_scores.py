"""The score folder of a job: what outside scripts read."""

from __future__ import annotations

import pytest
import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.engine.scores import Scores, column
from tests.every import job
from tests.running import scores

SMALL = ("dataset=portraits", "dataset.size_px=32", "networks=tiny", "metrics=none", "+metric@metrics.l2=l2")


@pytest.mark.parametrize("images", ["all", "correct", "drawn"])
def test_no_image_is_rendered_again_to_gather_scores(tmp_path, monkeypatch, images):
    """Ids come from what is stored, labels from the data set; both are those of the images."""
    given = (*SMALL, "n_images=20", f"images={images}", "sampler=gray", "explainer=lime", "target=label")
    made = job(tmp_path, *given)
    batches = [made.batch(group) for group in range(made.selection.n_groups)]
    for group in range(made.selection.n_groups):
        made.clean(group)
        for name in made.parts.metrics:
            made.score(name, group)

    def refuse(*_):
        raise AssertionError("images are rendered again")

    monkeypatch.setattr(Portraits, "batch", refuse)
    monkeypatch.setattr(Portraits, "unmasked", refuse)
    gathered = Scores(job(tmp_path, *given))
    gathered.folder.mkdir(parents=True)
    gathered.gather()
    columns = scores(gathered.folder)
    assert columns["image_id"] == [name for batch in batches for name in batch.image_id]
    assert columns["label"] == columns["target"] == [label for batch in batches for label in batch.label.tolist()]
    assert gathered.images["n"] == len(columns["image_id"]) and gathered.images["chosen"] == images


def test_a_column_has_a_row_for_every_image():
    assert column(torch.tensor([1.0, 2.0]), None, 3) == [1.0, 2.0, None]
    assert column(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]), 2) == [None, 2.0], "the first does not count"
