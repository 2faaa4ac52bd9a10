"""What holds for every segmenter that has a yaml."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pomelo_lab.config.build import build
from pomelo_lab.config.signature import node_problems
from pomelo_lab.segmenter.base import Segmenter
from tests.tiny import tiny_image

FILES = sorted((Path(__file__).parents[2] / "conf" / "segmenter").glob("*.yaml"))
NODES = {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in FILES}
NAMES = [name for name, node in NODES.items() if node]


@pytest.mark.parametrize("name", NAMES)
def test_yaml_mirrors_the_constructor(name):
    assert node_problems(NODES[name], "segmenter", Segmenter) == []
    assert type(build(NODES[name])).__module__.rpartition(".")[2] == name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 32, 40), (1, 24, 24)])
def test_labels_are_dense_and_independent_of_neighbours(name, shape):
    segmenter = build(NODES[name])
    image = tiny_image(3, shape)
    segments = segmenter.segment(image)
    assert segments.label.shape == (3, *shape[1:]) and segments.label.dtype == torch.int64
    for label, count in zip(segments.label, segments.count, strict=True):
        assert label.unique().tolist() == list(range(int(count)))
    alone = segmenter.segment(image[1:2])
    assert torch.equal(alone.label[0], segments.label[1]) and alone.count[0] == segments.count[1]
    assert torch.equal(segmenter.segment(image).label, segments.label)


@pytest.mark.parametrize("name", NAMES)
def test_shape_problems_are_texts(name):
    assert type(build(NODES[name])).shape_problems(NODES[name], (3, 64, 64)) == []
