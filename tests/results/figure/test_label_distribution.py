"""The histogram that stands for the bars where there are many classes."""

import warnings

import torch

from pomelo_lab.results.figure import label_distribution


def test_a_thousand_classes_are_drawn_as_the_most_frequent_ones(tmp_path, monkeypatch):
    """With a bar and a legend entry per class the axes had no room left, and matplotlib said so."""
    seen = []
    canvas = label_distribution.style.canvas

    def watched(path, width, height):
        seen.append((width, height))
        return canvas(path, width, height)

    monkeypatch.setattr(label_distribution.style, "canvas", watched)
    share = torch.rand(2, 1000, generator=torch.Generator().manual_seed(0))
    share /= share.sum(1, keepdim=True)
    bars = [("baseline", "LIME", share[0].tolist()), ("proposed", "LIME-G", share[1].tolist())]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = label_distribution.histograms(
            bars, [f"class {k}, also called {k}" for k in range(1000)], tmp_path / "many.png"
        )
    assert path.stat().st_size > 5_000 and seen[0][1] < 6
