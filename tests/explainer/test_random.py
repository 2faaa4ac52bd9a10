import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.random import RandomExplainer
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Segments
from tests.tiny import tiny_batch

TARGET = torch.zeros(3, dtype=torch.long)


def test_one_uniform_value_per_segment_independent_of_neighbours():
    batch = tiny_batch(3)
    segmentations = [GridSegmenter(n_segments=n).segment(batch.image[:1]) for n in (4, 9, 16)]
    segments = Segments(
        label=torch.cat([one.label for one in segmentations]), count=torch.cat([one.count for one in segmentations])
    )
    out = RandomExplainer().explain(Case(batch, TARGET, None, RandomStreams(0), segments))
    for i in range(3):
        count = int(segments.count[i])
        value = out.extra["coefficient"][i]
        assert (
            len(value[:count].unique()) == count and (value[count:] == 0).all() and 0 <= value.min() <= value.max() < 1
        )
        assert torch.equal(out.attribution[i], value[segments.label[i]])
        alone = RandomExplainer().explain(
            Case(batch.select([i]), TARGET[:1], None, RandomStreams(0), segments.select([i]))
        )
        assert torch.equal(alone.attribution[0], out.attribution[i])
    assert not torch.equal(
        RandomExplainer().explain(Case(batch, TARGET, None, RandomStreams(1), segments)).attribution, out.attribution
    )


def test_pixel_level_needs_no_segments():
    out = RandomExplainer(level="pixel").explain(Case(tiny_batch(3), TARGET, None, RandomStreams(0)))
    # 192 draws: 4.8 standard errors
    assert out.attribution.shape == (3, 8, 8) and abs(float(out.attribution.mean()) - 0.5) < 0.1
    with pytest.raises(ValueError, match="explainer.level=segment needs segments"):
        RandomExplainer().explain(Case(tiny_batch(3), TARGET, None, RandomStreams(0)))
