"""Networks made elsewhere, in whole jobs: each runs, and a job without its package says what to install."""

from importlib.util import find_spec

import pytest

from tests.every import make_folder
from tests.running import TINY, command, scores

CHEAP = [text for text in TINY if text != "classifier.weights=null"]  # some weights come with the network
ASKED = ("explainer=lime", "sampler=gray", "n_images=2")
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")


def run(outputs, *overrides):
    """Runs a job, and returns the columns of its scores."""
    done = command(outputs, *CHEAP, *ASKED, *overrides, tiny=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (outputs / "score").iterdir()
    return scores(folder)


@needs_timm
@pytest.mark.parametrize(
    "name",
    ["test_vit", *(pytest.param(n, marks=pytest.mark.slow) for n in ("convnext_atto", "efficientnet_b0"))]
    + [pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow)],
)
def test_a_network_of_timm_runs(name, tmp_path):
    assert len(run(tmp_path, "classifier=timm", f"classifier.model={name}")["image_id"]) == 2


@needs_transformers
@pytest.mark.parametrize("kind", ["ViT", pytest.param("Swin", marks=pytest.mark.slow)])
def test_a_network_of_transformers_runs(kind, tmp_path):
    folder = make_folder(tmp_path / "network", kind, {k: f"digit {k}" for k in range(10)})
    asked = ["classifier=huggingface", f"classifier.model={folder}", "target=digit 3"]
    assert len(run(tmp_path / "outputs", *asked)["image_id"]) == 2
