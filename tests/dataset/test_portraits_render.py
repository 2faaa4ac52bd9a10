"""The renderer: exact pixels, partition, causal regions, resolutions."""

import zlib

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.dataset.causal_model import CausalModel, uniforms
from pomelo_lab.dataset.portraits_causes import ATTRIBUTES, CAUSES, HAIR_COLORS, mark_cause
from pomelo_lab.dataset.portraits_render import HAIR_RGB, PARTS, render


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads that wait for each other cost more than they give on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return CausalModel((*CAUSES, mark_cause("Male", 0.8)), ATTRIBUTES)


@pytest.fixture(scope="module")
def people(model):
    return model.draw(uniforms(0, "val", torch.arange(96), model.causes))


@pytest.fixture(scope="module")
def drawn(people):
    return render(people, 64)


def test_pixels_lie_on_the_8_bit_grid(drawn):
    image, _ = drawn
    assert image.dtype == torch.float32 and image.shape == (96, 3, 64, 64)
    byte = (image * 255).round()
    assert torch.equal(byte.div(255), image) and float(image.min()) >= 0 and float(image.max()) <= 1
    assert float(image.std()) > 0.15


def test_masks_partition_the_frame(drawn):
    _, masks = drawn
    assert set(masks) == {*PARTS, "label"}
    assert all(m.dtype == torch.bool and m.shape == (96, 64, 64) for m in masks.values())
    assert (torch.stack([masks[p] for p in PARTS]).sum(0) == 1).all()


def test_parts_are_there_when_their_cause_is(people, drawn):
    _, masks = drawn
    area = {name: mask.flatten(1).sum(1) for name, mask in masks.items()}
    for name in ("background", "skin", "mouth", "nose", "clothes", "label"):
        assert (area[name] > 0).all(), name
    for name in ("beard", "glasses", "hat", "earrings", "mark"):
        assert torch.equal(area[name] > 0, people[name] > 0), name
    assert torch.equal(area["hair"] > 0, people["hair_color"] != HAIR_COLORS.index("bald"))
    assert (area["eyes"][people["glasses"] != 3] > 8).all()


def test_the_label_stays_visible_under_every_hat(model, people):
    for hat in ("cap", "beanie", "brim"):
        for color in ("gray", "bald"):
            some = {k: v[:48] for k, v in people.items()}
            _, masks = render(model.intervene(some, {"hat": hat, "hair_color": color, "hair_length": "short"}), 64)
            assert int(masks["label"].flatten(1).sum(1).min()) >= 30, (hat, color)
            if color != "bald":
                assert int(masks["hair"].flatten(1).sum(1).min()) >= 15, (hat, color)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_pixels_do_not_depend_on_the_batch(people, drawn, size):
    order = torch.randperm(96, generator=torch.Generator().manual_seed(size))[: 24 if size == 1 else 96]
    for rows in order.split(size):
        image, masks = render({k: v[rows] for k, v in people.items()}, 64)
        assert torch.equal(image, drawn[0][rows])
        assert all(torch.equal(masks[name], drawn[1][name][rows]) for name in masks)


def test_pixels_do_not_depend_on_threads_or_masks(people, drawn):
    before = torch.get_num_threads()
    try:
        for n in (2, 1):
            torch.set_num_threads(n)
            assert torch.equal(render(people, 64)[0], drawn[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(render(people, 64, with_masks=False)[0], drawn[0])


def test_odd_sizes_do_not_depend_on_the_batch(people):
    together, _ = render({k: v[:9] for k, v in people.items()}, 37)
    for i in range(9):
        assert torch.equal(render({k: v[i : i + 1] for k, v in people.items()}, 37)[0][0], together[i])


def test_label_mask_is_the_region_that_hair_colour_changes(model, people, drawn):
    image, masks = drawn
    changed = torch.zeros_like(masks["label"])
    for color in HAIR_COLORS:
        other, _ = render(model.intervene(people, {"hair_color": color}), 64)
        changed |= (other != image).any(1)
        outside = ~masks["label"][:, None].expand_as(image)
        assert torch.equal(other[outside], image[outside])
    assert torch.equal(changed, masks["label"])


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"eye_color": "blue"}, {"eyes", "glasses"}),
        ({"lipstick": "red"}, {"mouth"}),
        ({"shirt_hue": 0.1}, {"clothes"}),
        ({"background_light": 0.9}, {"background"}),
        ({"mark": "present"}, {"mark"}),
        ({"earrings": "none"}, {"earrings"}),
        ({"hat": "none"}, {"hat"}),
    ],
)
def test_intervention_changes_only_its_region(model, people, drawn, changes, parts):
    """Anti-aliased border pixels belong to the neighbour: two pixels of tolerance, and 0.1 % for soft tips."""
    image, masks = drawn
    new, after = render(model.intervene(people, changes), 64)
    changed = (new != image).any(1)
    allowed = torch.stack([masks[p] for p in parts] + [after[p] for p in parts]).any(0)
    allowed = F.max_pool2d(allowed[:, None].float(), 5, 1, 2)[:, 0] > 0
    assert changed.any() and int((changed & ~allowed).sum()) < 1e-3 * int(changed.sum())


def test_invisible_causes_change_nothing(model, people, drawn):
    """Eye colour behind no eye: factors without a visible bearer (no hat, no beard on others) leave every bit."""
    bare = model.intervene(people, {"hat": "none", "mark": "absent"})
    a, _ = render(bare, 64, with_masks=False)
    b, _ = render(model.intervene(bare, {"hat_hue": 0.3, "hat_light": 0.9, "male": "male"}), 64, with_masks=False)
    assert torch.equal(a, b)


def test_resolution_keeps_the_person(people):
    some = {k: v[:24] for k, v in people.items()}
    small, small_masks = render(some, 64)
    large, large_masks = render(some, 128)
    assert float((F.avg_pool2d(large, 2) - small).abs().mean()) < 0.012
    for part in ("hair", "skin", "background", "clothes", "label"):
        share = large_masks[part].flatten(1).float().mean(1) - small_masks[part].flatten(1).float().mean(1)
        assert float(share.abs().max()) < 0.03, part


def test_hair_classes_are_apart_in_colour():
    low, high = ({k: torch.tensor(v[i]) for k, v in HAIR_RGB.items()} for i in (0, 1))
    assert high["black"].max() < low["brown"].max() < high["brown"].max() < low["blond"].max()
    chroma = {k: float((v.max() - v.min()) / v.max()) for k, v in low.items()}
    assert chroma["gray"] < 0.1 < 0.5 < chroma["blond"]


def test_golden_bytes(drawn):
    """IEEE arithmetic only: the same bytes on every machine. When this changes, raise Portraits.revision."""
    image, masks = drawn
    byte = (image * 255).round().to(torch.uint8).contiguous()
    assert zlib.crc32(byte.numpy().tobytes()) == GOLDEN_IMAGE
    assert zlib.crc32(torch.stack([masks[p] for p in (*PARTS, "label")]).contiguous().numpy().tobytes()) == GOLDEN_MASKS


GOLDEN_IMAGE = 474476034
GOLDEN_MASKS = 366722562
