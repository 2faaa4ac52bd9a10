"""Maps that captum, lime and pytorch-grad-cam made, scored through explainer=stored: the scores of our own methods."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from pomelo_lab import compat
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.run import run
from tests.running import ROOT, config, scores
from tests.test_how_to import blocks

pytestmark = pytest.mark.parity
PAGE = ROOT / "docs" / "how-to" / "score-maps-made-elsewhere.md"
JOB = (
    *("dataset=digits", "classifier=module", "classifier.factory=my_net.py:build", "segmenter=grid"),
    *("segmenter.n_segments=16", "scale=smoke", "metrics=[fidelity,rise_games]", "n_images=4", "tracking=none"),
)
OURS = {
    "captum": ("explainer=integrated_gradients", "sampler=black", "explainer.most_steps=50"),
    "lime": ("explainer=lime", "sampler=black", "sampler.design=lime", "explainer.n_samples=64"),
    "grad_cam": ("explainer=grad_cam", "sampler=none", "explainer.layer='2'"),
}
SCRIPTS = {"captum": "make_maps.py", "lime": "make_maps.py", "grad_cam": "make_grad_cam.py"}
FILES = {"captum": "captum.npz", "lime": "lime.npz", "grad_cam": "grad_cam.npy"}
PACKAGES = {"captum": "captum", "lime": "lime", "grad_cam": "pytorch_grad_cam"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files of the page."""
    for name, code in blocks(PAGE).items():
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    compat.ensure()
    return tmp_path


def read(file, dtype, settings):
    """The maps of the job's images in a file of the page."""
    if file.endswith(".npz"):
        return np.load(file)["maps"].astype(dtype)
    job = Job(settings, Store(settings["paths"]["outputs"]))
    return np.load(file).astype(dtype)[list(job.selection.image_ids().values())]


def from_zero_to_one(maps):
    """Each map on the scale of its least and its largest value."""
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / (high - low)


@pytest.mark.parametrize("name", OURS)
def test_the_scores_are_those_of_our_method(name, folder):
    if not all(find_spec(package) for package in ("captum", "lime", PACKAGES[name])):
        pytest.skip(f"{PACKAGES[name]} is not installed")
    exec(compile((folder / SCRIPTS[name]).read_text(), SCRIPTS[name], "exec"), {})  # noqa: S102 (the page's own code)
    settings = config(folder / "outputs", *OURS[name], base=JOB)
    expected = scores(run(settings, brief=True))
    maps = Job(settings, Store(folder / "outputs")).explanation(0).attribution.numpy()
    theirs = read(FILES[name], maps.dtype, settings)
    if name == "grad_cam":  # which scales its maps
        maps, theirs = from_zero_to_one(maps), from_zero_to_one(theirs)
    assert np.abs(maps - theirs).max() < 1e-5 * np.abs(maps).max()
    stored = ("explainer=stored", f"explainer.maps={FILES[name]}", "sampler=none")
    given = scores(run(config(folder / "outputs", *stored, base=JOB), brief=True))
    assert given["image_id"] == expected["image_id"] and given["target"] == expected["target"]
    played = [key for key in given if key.startswith(("deletion", "insertion"))]
    assert len(played) >= 8
    for key in played:
        assert given[key] == pytest.approx(expected[key], abs=1e-5), key
