"""Every white-box explainer on torchvision's networks: it keeps its promise, or refuses at once; scripts/white_box.py
writes docs/white_box.md."""

import importlib.util
import re
import sys

import pytest

from tests.running import ROOT

SPEC = importlib.util.spec_from_file_location("white_box", ROOT / "scripts" / "white_box.py")
white_box = sys.modules["white_box"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(white_box)

TRANSFORMERS = ("swin_t", "vit_b_16")
REFUSED = {  # what has no rule, and the part that the message names
    **{(name, "DeepLIFT"): "LayerNorm" for name in ("convnext_tiny", "swin_t")},
    ("vit_b_16", "DeepLIFT"): "encoder",
    ("vit_b_16", "Grad-CAM"): "layer encoder",
    **{(name, heading): "must name a layer" for name in TRANSFORMERS for heading in ("IBA", "InputIBA")},
}


def assert_kept_or_refused(architecture, heading):
    made = white_box.outcome(architecture, heading)
    assert bool(made.refused) == ((architecture, heading) in REFUSED), made.refused
    if made.refused:
        # processor time, whatever else the machine does
        assert REFUSED[architecture, heading] in made.refused and made.seconds < 5
    elif white_box.EXPLAINERS[heading][1] == white_box.SUM:
        assert made.gap < white_box.LIMIT


@pytest.mark.parametrize("heading", ["DeepLIFT", "guided backprop", "Grad-CAM", "IBA", "Fisher/SDE"])
@pytest.mark.parametrize("architecture", ["mobilenet_v2", "efficientnet_b0"])
def test_two_networks(architecture, heading):
    assert_kept_or_refused(architecture, heading)


@pytest.mark.slow
@pytest.mark.parametrize("heading", white_box.EXPLAINERS)
@pytest.mark.parametrize("architecture", white_box.NETWORKS)
def test_every_network(architecture, heading):
    assert_kept_or_refused(architecture, heading)


def test_the_page_tells_every_network_and_explainer():
    text = (ROOT / "docs" / "white_box.md").read_text()
    joined = " ".join(text.split())
    assert all(name in text for name in (*white_box.NETWORKS, *white_box.EXPLAINERS))
    for architecture, heading in REFUSED:
        assert re.search(
            rf"- {architecture}, {re.escape(heading)}, after [\d.]+ s of processor time: `explainer", joined
        )
