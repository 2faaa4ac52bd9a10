import pytest
import torch

from pomelo_lab.segmenter.grid import GridSegmenter


@pytest.mark.parametrize(
    ("n", "shape", "expected"),
    [(65, (64, 64), 64), (1, (5, 7), 1), (35, (5, 7), 35), (16, (64, 16), 16), (6, (10, 15), 6), (64, (8, 8), 64)],
)
def test_tiles_exactly(n, shape, expected):
    segments = GridSegmenter(n_segments=n).segment(torch.zeros(2, 3, *shape))
    assert segments.count.tolist() == [expected] * 2
    sizes = []
    for segment in range(expected):
        rows, columns = (segments.label[0] == segment).nonzero(as_tuple=True)
        height, width = (int(t.max() - t.min()) + 1 for t in (rows, columns))
        assert height * width == len(rows)  # a full rectangle
        sizes.append((height, width))
    for side in zip(*sizes, strict=True):
        assert max(side) - min(side) <= 1


def test_more_segments_than_pixels_is_refused():
    with pytest.raises(ValueError, match="segmenter.n_segments must be <= 64"):
        GridSegmenter(n_segments=65).segment(torch.zeros(1, 3, 8, 8))
