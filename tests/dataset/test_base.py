import hashlib

from pomelo_lab.dataset.base import hash_position, split_by_hash


def test_no_image_of_a_public_data_set_changes_its_half():
    """An official validation image is "val" where the first byte of the hash of its id is below 128."""
    names = [f"imagenet-ILSVRC2012_val_{i:08d}" for i in range(1, 50_001)]
    names += [f"places365-Places365_val_{i:08d}" for i in range(1, 36_501)]
    halves = [split_by_hash(name, 0.5, 0.5) for name in names]
    assert halves == ["val" if hashlib.sha256(name.encode()).digest()[0] < 128 else "test" for name in names]
    assert abs(halves.count("val") / len(halves) - 0.5) < 0.01


def test_shares_of_a_split_and_the_order_of_hashes():
    names = [f"0:class/{i}.png" for i in range(4000)]
    splits = [split_by_hash(name, 0.15, 0.25) for name in names]
    for split, share in {"val": 0.15, "test": 0.25, "train": 0.6}.items():
        assert abs(splits.count(split) / len(splits) - share) < 0.03
    assert sorted(names, key=hash_position) == sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    assert split_by_hash("a", 0, 0) == "train" and split_by_hash("a", 0, 1) == "test"
