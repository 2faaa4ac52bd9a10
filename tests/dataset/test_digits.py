import pytest
import torch

from pomelo_lab.dataset.digits import Digits, load_originals, positions_by_split
from tests.dataset.contract import check_contract


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
def test_contract(channels, resize):
    check_contract(Digits(channels=channels, resize=resize))


def test_splits_are_disjoint_complete_and_stratified():
    sets = {split: set(positions_by_split()[split].tolist()) for split in ("train", "val", "test")}
    assert sum(map(len, sets.values())) == 1797 == len(set.union(*sets.values()))
    for split, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        for digit in range(10):
            of_class = (load_originals()[1] == digit).sum().item()
            here = (load_originals()[1][positions_by_split()[split]] == digit).sum().item()
            assert abs(here - share * of_class) <= 1


def test_the_split_is_the_published_one():
    """Stored results depend on it."""
    assert [len(Digits(split=split)) for split in ("train", "val", "test")] == [1258, 270, 269]
    assert positions_by_split()["test"][:5].tolist() == [1, 3, 12, 16, 22]


def test_labels_belong_to_the_pixels():
    batch = Digits(size_px=8, channels=1, resize="nearest").batch(range(30))
    place = torch.tensor([int(name[-4:]) for name in batch.image_id])
    image, label = load_originals()
    assert torch.equal(batch.label, label[place]) and torch.equal(
        batch.image.mul(255).round().to(torch.uint8), image[place]
    )


def test_nearest_repeats_each_pixel():
    small = Digits(size_px=8, resize="nearest").batch([0, 1]).image
    large = Digits(size_px=32, resize="nearest").batch([0, 1]).image
    assert torch.equal(large, small.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_digest_tells_variants_apart():
    variants = [Digits(), Digits(split="val"), Digits(size_px=16), Digits(channels=1), Digits(resize="nearest")]
    assert len({variant.digest() for variant in variants}) == len(variants)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="dataset.size_px must be >= 8, got 4"):
        Digits(size_px=4)
    with pytest.raises(ValueError, match="dataset.channels must be one of 1, 3, got 2"):
        Digits(channels=2)
