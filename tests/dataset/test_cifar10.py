import numpy as np
import pytest
import torch

from pomelo_lab.dataset.cifar10 import Cifar10
from tests.dataset.contract import check_contract


@pytest.fixture
def root(tmp_path):
    """Each file holds two images: one value per channel, counted on, and the number of the file as label."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate([f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]):
        records = [
            np.concatenate([[number], *(np.full(1024, 40 * number + 10 * k + c) for c in range(3))]) for k in range(2)
        ]
        np.concatenate(records).astype(np.uint8).tofile(folder / name)
    return tmp_path


@pytest.mark.parametrize("size_px", [32, 16])
def test_contract(root, size_px):
    data = Cifar10(root=str(root), size_px=size_px)
    check_contract(data)
    assert Cifar10(root=str(root / "cifar-10-batches-bin"), size_px=size_px).digest() == data.digest()


def test_labels_channels_and_splits(root):
    data = Cifar10(root=str(root), split="train")
    batch = data.batch([1, 4])
    assert (len(data), len(data.at("val")), len(data.at("test"))) == (8, 2, 2)
    assert (
        batch.label.tolist() == [0, 2]
        and data.at("val").batch([0]).label.tolist() == [4]
        and data.at("test").labels([1]).tolist() == [5]
    )
    assert (batch.image[1] * 255).round().amax((1, 2)).tolist() == [80, 81, 82]
    assert torch.equal(batch.image[1], batch.image[1, :, :1, :1].expand(-1, 32, 32))


def test_files_that_are_missing_or_of_another_kind(root):
    with pytest.raises(FileNotFoundError, match="binary version"):
        len(Cifar10(root=str(root / "elsewhere")))
    (root / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="has 3 bytes, expected a multiple of 3073"):
        len(Cifar10(root=str(root)))
