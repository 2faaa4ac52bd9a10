"""The data set: random access, batches, spurious marks, causal masks, messages."""

from pathlib import Path

import pytest
import torch

from pomelo_lab.config.fingerprint import canonical
from pomelo_lab.config.signature import node_problems
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.dataset.portraits_causes import HAIR_COLORS

YAML = Path(__file__).parents[2] / "conf/dataset/portraits.yaml"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors: threads that wait for each other cost more than they give on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return Portraits(size_px=48)


@pytest.fixture(scope="module")
def batch(data):
    return data.batch(range(32))


def test_batch_is_complete(data, batch):
    assert batch.image.shape == (32, *data.shape) and len(batch) == 32
    assert torch.equal(batch.label, batch.factors["hair_color"]) and batch.label.dtype == torch.int64
    assert batch.image_id[12] == "portraits-val-00000012" and batch.index.tolist() == list(range(32))
    assert batch.attributes.shape == (32, len(data.attribute_names)) and batch.attributes.dtype == torch.bool
    assert set(batch.masks) == {*data.part_names, "label"}
    assert batch.masks["label"].flatten(1).any(1).all()
    assert Portraits(seed=5).batch([3]).image_id == ("portraits-val-s5-00000003",)


def test_random_access_is_bit_exact(data, batch):
    for indices in ([31, 4, 4, 0], [17], list(range(31, -1, -1))):
        again, chosen = data.batch(indices), batch.select(indices)
        assert torch.equal(again.image, chosen.image) and again.image_id == chosen.image_id
        assert torch.equal(again.attributes, chosen.attributes)
        assert all(torch.equal(again.masks[m], chosen.masks[m]) for m in batch.masks)
        assert all(torch.equal(again.factors[f], chosen.factors[f]) for f in batch.factors)


def test_splits_and_seeds_are_other_people(data, batch):
    assert (len(data), len(data.at("train")), len(data.at("test"))) == (4000, 20000, 4000)
    for other in (data.at("train"), data.at("test"), Portraits(size_px=48, seed=1)):
        assert not (other.batch(range(32)).image == batch.image).flatten(1).all(1).any()
    longer = Portraits(size_px=48, n_val=9000)
    assert torch.equal(longer.batch([7]).image[0], batch.image[7])
    with pytest.raises(IndexError, match=r"\[0, 4000\)"):
        data.batch([4000])


def test_causal_mask_of_hair_colour_is_the_label_mask(data, batch):
    assert torch.equal(data.causal_mask(batch, "hair_color"), batch.masks["label"])


def test_causal_mask_of_other_causes(data, batch):
    glasses = data.causal_mask(batch, "glasses")
    assert (batch.masks["glasses"] & ~glasses).sum() == 0 and glasses.flatten(1).any(1).all()
    smile = data.causal_mask(batch, "smile", n=3)
    below = torch.arange(48)[None, :, None].expand_as(smile)
    assert smile.any() and int(below[smile].min()) > 20
    assert not data.causal_mask(batch, "male").any()  # acts through its effects only
    with pytest.raises(ValueError, match="did you mean 'smile'"):
        data.causal_mask(batch, "smil")


def test_resampled_people_keep_what_was_not_resampled(data, batch):
    names = [n for n in data.group("scene") if n != "mark"]
    u = torch.rand(32, 2, len(names), generator=torch.Generator().manual_seed(0))
    factors = data.resample(batch.factors, names, u)
    image, masks = data.render(factors)
    for part in ("eyes", "mouth", "hair", "clothes", "background"):
        assert torch.equal(masks[part], batch.masks[part].repeat_interleave(2, 0))
    assert (image != batch.image.repeat_interleave(2, 0)).flatten(1).any(1).all()
    zero = data.resample(batch.factors, [], torch.zeros(32, 1, 0))
    assert torch.equal(data.render(zero, with_masks=False)[0], batch.image)


def test_every_cause_is_in_a_group(data):
    groups = ("person", "style", "expression", "pose", "scene")
    assert sorted(data.group(*groups)) == sorted(data.model.causes)
    with pytest.raises(ValueError, match="did you mean 'pose'"):
        data.group("poses")


def test_spurious_rate_and_pixels(data, batch):
    assert not batch.factors["mark"].any() and not batch.masks["mark"].any()
    marked = Portraits(size_px=48, spurious={"attribute": "Smiling", "rate": 0.9})
    factors = marked.factors(range(4000))
    smiling = factors["smile"] >= 0.5
    for chosen, p in ((smiling, 0.9), (~smiling, 0.1)):
        assert float(factors["mark"][chosen].float().mean()) == pytest.approx(
            p, abs=4.5 * (0.09 / int(chosen.sum())) ** 0.5
        )
    new = marked.batch(range(32))
    present = new.factors["mark"] == 1
    assert torch.equal((new.image != batch.image).flatten(1).any(1), present)  # the same people, some with a mark
    assert torch.equal(new.masks["mark"].flatten(1).any(1), present)
    erased, _ = marked.render(marked.intervene(new.factors, {"mark": "absent"}))
    assert torch.equal(erased, batch.image)
    assert Portraits(spurious={"attribute": "bald"}).spurious == {"attribute": "bald", "rate": 0.5}


def test_a_planted_mark_is_the_last_attribute():
    plain, marked = Portraits(size_px=16), Portraits(size_px=16, spurious={"attribute": "Smiling", "rate": 0.9})
    assert marked.attribute_names == (*plain.attribute_names, "Mark") and "Mark" not in plain.attribute_names
    batch, smiles = marked.unmasked(range(500)), marked.attribute_names.index("Smiling")
    assert torch.equal(batch.attributes[:, -1], batch.factors["mark"] == 1)
    assert torch.equal(batch.attributes[:, :-1], plain.unmasked(range(500)).attributes)
    correlation = torch.corrcoef(batch.attributes.double().T)[smiles, -1]
    assert (
        float(correlation) == pytest.approx(float(marked.attribute_correlation()[smiles, -1]), abs=0.05)
        and float(correlation) > 0.7
    )


@pytest.mark.parametrize(
    ("spurious", "text"),
    [
        ({"attribute": "Smilling"}, r"dataset\.spurious\.attribute must be .* got 'Smilling', did you mean 'Smiling'"),
        ({"attribute": "blonde"}, "did you mean 'blond'"),
        ({"rate": 1.5}, r"dataset\.spurious\.rate must be a number in \[0, 1\], got 1.5"),
        ({"rate": "high"}, r"spurious\.rate .* got 'high'"),
        ({"attribut": "bald"}, r"spurious\.attribut is unknown, did you mean 'attribute'"),
    ],
)
def test_spurious_messages(spurious, text):
    with pytest.raises(ValueError, match=text):
        Portraits(spurious=spurious)


def test_config_check_finds_the_same_problems():
    node = {"_target_": "pomelo_lab.dataset.portraits.Portraits", "spurious": {"attribute": "Smilling", "rate": 2}}
    problems = node_problems(node, "dataset")
    assert (
        len(problems) == 2
        and problems[0].startswith("dataset.spurious.attribute must be")
        and problems[1].startswith("dataset.spurious.rate")
    )
    assert node_problems({**node, "spurious": {"attribute": None, "rate": 1}}, "dataset") == []
    assert "dataset.size_px must be >= 16" in node_problems({**node, "spurious": {}, "size_px": 4}, "dataset")[0]


def test_yaml_states_the_defaults():
    yaml = pytest.importorskip("yaml")
    node = yaml.safe_load(YAML.read_text())
    assert node_problems(node, "dataset") == []
    made = Portraits(**{k: v for k, v in node.items() if k != "_target_"})
    assert made == Portraits()


# --- other labels -------------------------------------------------------------------------------------------------


def test_an_attribute_as_the_label():
    one, hair = Portraits(label="Smiling", n_val=40), Portraits(n_val=40)
    batch, other = one.batch(range(40)), hair.batch(range(40))
    assert one.class_names == ("not Smiling", "Smiling") and hair.class_names == HAIR_COLORS and one.num_classes == 2
    assert torch.equal(batch.image, other.image) and batch.image_id == other.image_id
    place = one.attribute_names.index("Smiling")
    assert torch.equal(batch.label, batch.attributes[:, place].long()) and torch.equal(
        one.labels(range(40)), batch.label
    )
    assert torch.equal(batch.masks["label"], one.causal_mask(batch, "smile")) and not torch.equal(
        batch.masks["label"], other.masks["label"]
    )
    assert batch.masks["label"].flatten(1).any(1).all()


def test_the_label_is_in_fingerprints_only_where_it_is_not_hair():
    """Results stored before there was a choice stay what they are."""
    node = {"_target_": "pomelo_lab.dataset.portraits.Portraits"}
    assert "label" not in canonical(node) and canonical({**node, "label": "hair_color"}) == canonical(node)
    assert canonical({**node, "label": "Young"})["label"] == "Young"


def test_unknown_labels_and_targets_are_named():
    with pytest.raises(
        ValueError, match="label must be hair_color or an attribute.*got 'Smilin'.*did you mean.*Smiling"
    ):
        Portraits(label="Smilin")
