"""What holds for every sampler that has a yaml: found by scanning conf/sampler.

Samplers that need a generator have their own tests.
"""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import pomelo_lab.config.schema  # noqa: F401 (knows ${of_64:...})
from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.build import build
from pomelo_lab.config.signature import hints, injected_role, locate, node_problems
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.sampler.base import Filler, Sampler
from pomelo_lab.segmenter.grid import GridSegmenter
from pomelo_lab.types import Perturbations, Segments

CONF = Path(__file__).parents[2] / "conf"
SIZE = 24
DATA = Portraits(size_px=SIZE, n_val=50)
BATCH = DATA.batch([3, 1, 4])
N = 6


def node_of(path: Path) -> dict:
    """A sampler's yaml as a plain node, with `/dataset@source: name` filled in as Hydra does."""
    loaded = OmegaConf.load(path)
    node, chosen = {}, loaded.pop("defaults", None)
    for entry in OmegaConf.to_container(chosen) if chosen else []:
        if entry != "_self_" and not next(iter(entry)).startswith("override "):
            ((key, name),) = entry.items()
            group, _, where = key.lstrip("/").partition("@")
            node[where] = OmegaConf.load(CONF / group / f"{name}.yaml")
    shared = {
        "scale": OmegaConf.load(CONF / "scale" / "smoke.yaml"),
        "dataset": {"size_px": SIZE},
        "paths": {"cifar10": "data"},
    }
    return OmegaConf.to_container(OmegaConf.merge(shared, {"sampler": node}, {"sampler": loaded}), resolve=True)[
        "sampler"
    ]


def needs_more(node: dict) -> bool:
    """Whether the constructor wants a component that no test data can stand in for (a trained generator)."""
    target = locate(node["_target_"])
    roles = {name: injected_role(hint) for name, hint in hints(target).items() if name not in node}
    return any(role is not None and not issubclass(role, Dataset) for role in roles.values())


NODES = {path.stem: node_of(path) for path in sorted((CONF / "sampler").glob("*.yaml"))}
# of a user's files
NODES = {
    name: node for name, node in NODES.items() if node and not needs_more(node) and "root" not in node.get("source", {})
}
SAMPLERS = {name: build(node, dataset=DATA) for name, node in NODES.items()}
FILLERS = {name: sampler for name, sampler in SAMPLERS.items() if isinstance(sampler, Filler)}


def uneven_segments() -> Segments:
    """Images with different segment counts."""
    labels = [GridSegmenter(n_segments=n).segment(BATCH.image[:1]) for n in (9, 16, 4)]
    return Segments(label=torch.cat([one.label for one in labels]), count=torch.cat([one.count for one in labels]))


@pytest.mark.parametrize("name", NODES)
def test_its_yaml_is_right(name):
    assert node_problems(NODES[name], "sampler", Sampler, (Portraits,)) == []


@pytest.mark.parametrize("name", SAMPLERS)
def test_shapes_seeds_and_neighbours(name):
    sampler, segments = SAMPLERS[name], uneven_segments()
    first = sampler.perturb(BATCH, segments, N, RandomStreams(0))
    assert first.image.shape == (3, N, *DATA.shape) and first.image.dtype == torch.uint8
    again = sampler.perturb(BATCH, segments, N, RandomStreams(0))
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, sampler.perturb(BATCH, segments, N, RandomStreams(1)).image)
    for i in (0, 2):
        alone = sampler.perturb(BATCH.select([i]), segments.select([i]), N, RandomStreams(0))
        assert torch.equal(alone.image[0], first.image[i])
    order = [2, 0, 1]
    turned = sampler.perturb(BATCH.select(order), segments.select(order), N, RandomStreams(0))
    assert torch.equal(turned.image, first.image[order])
    if getattr(sampler, "keep_first", False):
        assert torch.equal(first.image[:, 0], Perturbations.quantize(BATCH.image))
        assert torch.equal(Perturbations.dequantize(first.image[:, 0]), BATCH.image)  # 8-bit images survive storage


@pytest.mark.parametrize("name", SAMPLERS)
def test_keep_mask_says_what_was_dropped(name):
    sampler, segments = SAMPLERS[name], uneven_segments()
    perturbations = sampler.perturb(BATCH, segments, N, RandomStreams(0))
    assert (perturbations.keep_mask is not None) == isinstance(sampler, Filler)
    if perturbations.keep_mask is None:
        return
    for i, count in enumerate(segments.count):
        assert perturbations.keep_mask[i, :, int(count) :].all()  # padding is kept
    pixels = perturbations.keep_mask.gather(2, segments.label.flatten(1)[:, None].expand(-1, N, -1)).reshape(
        3, N, 1, SIZE, SIZE
    )
    original = Perturbations.quantize(BATCH.image)[:, None].expand_as(perturbations.image)
    assert torch.equal(perturbations.image.where(pixels, original), original)  # kept pixels are the image


@pytest.mark.parametrize("name", FILLERS)
def test_all_kept_is_the_image_bit_for_bit(name):
    segments = uneven_segments()
    keep = torch.ones(3, 2, SIZE, SIZE)
    filled = FILLERS[name].fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id, segments)
    assert filled.shape == (3, 2, *DATA.shape)
    assert torch.equal(filled, BATCH.image[:, None].expand_as(filled))


@pytest.mark.parametrize("name", FILLERS)
def test_a_filling_does_not_care_how_its_masks_are_batched(name):
    segments, keep = (
        uneven_segments(),
        (torch.rand(3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) < 0.5).float(),
    )
    whole = FILLERS[name].fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id, segments)
    filling = FILLERS[name].filling(BATCH.image, RandomStreams(0), BATCH.image_id, segments)
    for row, place in ([[2, 0, 2, 1, 1], [3, 1, 0, 0, 2]], [[0], [3]]):
        asked = torch.tensor(row), torch.tensor(place)
        torch.testing.assert_close(filling(asked[0], keep[asked], asked[1]), whole[asked], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FILLERS)
def test_fill_is_differentiable_in_the_mask_and_blends(name):
    sampler, segments = FILLERS[name], uneven_segments()
    if sampler.context != "image":
        pytest.skip("the fill depends on the mask")
    keep = torch.full((3, 1, SIZE, SIZE), 0.5, requires_grad=True)
    half = sampler.fill(BATCH.image, keep, RandomStreams(0), BATCH.image_id, segments)
    half.sum().backward()
    base = sampler.fill(BATCH.image, torch.zeros_like(keep), RandomStreams(0), BATCH.image_id, segments)
    torch.testing.assert_close(half, (BATCH.image[:, None] + base) / 2)
    torch.testing.assert_close(keep.grad, (BATCH.image[:, None] - base).sum(2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FILLERS)
def test_stored_choice_equals_the_blend(name):
    """BaseImageFiller.perturb chooses between stored images; Filler.perturb blends and stores: the same bits."""
    sampler, segments = FILLERS[name], uneven_segments()
    fast = sampler.perturb(BATCH, segments, N, RandomStreams(0))
    slow = Filler.perturb(sampler, BATCH, segments, N, RandomStreams(0))
    assert torch.equal(fast.image, slow.image) and torch.equal(fast.keep_mask, slow.keep_mask)


@pytest.mark.parametrize("name", FILLERS)
def test_no_segments_is_an_error(name):
    with pytest.raises(ValueError, match="needs segments"):
        FILLERS[name].perturb(BATCH, None, N, RandomStreams(0))


def test_lime_design_needs_its_rate():
    from pomelo_lab.sampler.gray import GraySampler

    with pytest.raises(ValueError, match="sampler.rate must be 0.5"):
        GraySampler(design="lime", rate=0.75).perturb(BATCH, uneven_segments(), N, RandomStreams(0))


def test_dropped_share_is_the_rate():
    from pomelo_lab.sampler.gray import GraySampler

    keep = (
        GraySampler(rate=0.75)
        .perturb(BATCH, GridSegmenter(n_segments=64).segment(BATCH.image), 201, RandomStreams(0))
        .keep_mask
    )
    assert abs(float(keep[:, 1:].float().mean()) - 0.25) < 0.01  # 38400 draws: 4.5 standard errors
