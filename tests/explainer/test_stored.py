"""Stored explanations: what each layout of files gives, and what is refused."""

import json
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.dataset.image_folder import ImageFolder
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.stored import StoredExplainer
from tests.tiny import TinyDataset, TinyLinear, tiny_image

SHAPE, N = (3, 8, 8), 4
RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(N, 8, 8)).astype(np.float32)  # signed
IMAGES = tiny_image(N, seed=3).numpy()
IDS = [f"tiny-{i}" for i in range(N)]
TINY = TinyDataset(image=tiny_image(N), label=torch.arange(N) % 2, split="test")


@pytest.fixture
def case():
    """All images but the first, in another order than the data set's."""
    batch = replace(TINY.batch([3, 1, 2]), index=torch.tensor([3, 1, 2]))
    network = TinyLinear.random(2, SHAPE)
    return Case(batch, torch.tensor([0, 1, 0]), view(network, "black_box", 8, torch.device("cpu")), RandomStreams(0))


def positions(*rows: int) -> dict[str, int]:
    return {IDS[row]: row for row in rows}


def explained(case: Case, **given) -> torch.Tensor:
    explainer = StoredExplainer(dataset=TINY, **{name: str(path) for name, path in given.items()})
    explainer.check_images(lambda: positions(3, 1, 2))
    return explainer.explain(case)


def write_maps(folder, layout, maps=MAPS, ids=IDS):
    """One layout of the same maps."""
    path = folder / f"maps{layout}"
    if layout == ".npy":
        np.save(path, maps)
    elif layout == ".npz":
        np.savez(path, ids=ids, maps=maps)
    elif layout == "-each.npz":
        np.savez(path, **dict(zip(ids, maps, strict=True)))
    elif layout == ".safetensors":
        save_file({"attribution": maps}, path, {"image_id": json.dumps(ids)})
    elif layout == "-each.safetensors":
        save_file(dict(zip(ids, maps, strict=True)), path)
    elif layout == ".parquet":
        pq.write_table(pa.table({"image_id": ids, "map": [row.tolist() for row in maps]}), path)
    else:
        path.mkdir()
        for name, row in zip(ids, maps, strict=True):
            np.save(path / f"{name}.npy", row)
    return path


LAYOUTS = (".npy", ".npz", "-each.npz", ".safetensors", "-each.safetensors", ".parquet", "-folder")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_each_image_its_map_as_it_is(layout, case, tmp_path):
    made = explained(case, maps=write_maps(tmp_path, layout))
    assert torch.equal(made.attribution, torch.from_numpy(MAPS[[3, 1, 2]])) and made.counterfactual is None
    assert made.extra == {} and torch.equal(made.target, case.target) and case.classifier.queries == 0


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_gray_png_of_8_and_16_bits_are_shares(dtype, most, case, tmp_path):
    levels = RNG.integers(0, most + 1, MAPS.shape).astype(dtype)
    for name, row in zip(IDS, levels, strict=True):
        Image.fromarray(row).save(tmp_path / f"{name}.png")
    made = explained(case, maps=tmp_path)
    assert torch.allclose(made.attribution, torch.from_numpy(levels[[3, 1, 2]] / most).float(), atol=1e-7, rtol=0)


def test_a_map_in_colours_is_refused(case, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny-3.png")
    for name in IDS[1:3]:
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="tiny-3.png is a picture of mode RGB"):
        explained(case, maps=tmp_path)


def test_counterfactuals_are_measured_by_the_classifier(case, tmp_path):
    for name, image in zip(IDS, IMAGES, strict=True):
        Image.fromarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0)).save(tmp_path / f"{name}.png")
    made = explained(case, counterfactuals=tmp_path)
    expected = torch.from_numpy(IMAGES[[3, 1, 2]])
    assert torch.allclose(made.counterfactual, expected, atol=1e-6)
    assert torch.allclose(made.attribution, (expected - case.batch.image).abs().mean(1), atol=1e-6)
    assert case.classifier.queries == 2 * len(case) and torch.equal(made.extra["goal"].long(), 1 - case.target)
    answer = case.classifier.probability(made.counterfactual)
    assert torch.equal(made.extra["flipped"] > 0.5, answer.argmax(1) == 1 - case.target)
    assert StoredExplainer(counterfactuals=str(tmp_path), dataset=TINY).cost(SHAPE).queries == 2
    fixed = StoredExplainer(counterfactuals=str(tmp_path), goal=0, dataset=TINY)
    assert fixed.cost(SHAPE).queries == 1 and fixed.explain(case).extra["goal"].eq(0).all()


def result_tree(folder, image=None):
    """The tree that the codes of DiME and ACE write: images 1 and 3 reached their class."""
    for row in (1, 2, 3):
        right, flipped, name = ("IC", "Incorrect")[row == 9], "CCF" if row != 2 else "ICF", f"{row:07d}"
        base = folder / "Results" / "exp" / right / flipped
        originals = folder / "Original" / "Incorrect"
        for path in (base / "CF", base / "SM", base / "Info", originals):
            path.mkdir(parents=True, exist_ok=True)
        save_image(IMAGES[row], base / "CF" / f"{name}.png")
        save_image(IMAGES[0], base / "SM" / f"{name}.png")
        save_image(TINY.image[row].numpy() if image is None else image, originals / f"{name}.png")
        said = {"label": 0, "pred": int(row == 1), "target": int(row != 1), "cf pred": 1, "BKL": 0.5}
        (base / "Info" / f"{name}.txt").write_text("\n".join(f"{key}: {value}" for key, value in said.items()))
    return folder


def save_image(image, path):
    Image.fromarray((image * 255).round().astype(np.uint8).transpose(1, 2, 0)).save(path)


def test_result_trees_of_dime_and_ace(case, tmp_path):
    root = result_tree(tmp_path)
    for folder in (root, root / "Results", root / "Results" / "exp"):
        made = explained(case, counterfactuals=folder)
        assert torch.allclose(made.counterfactual, torch.from_numpy(IMAGES[[3, 1, 2]]), atol=1e-6)
        assert made.extra["goal"].tolist() == [1, 0, 1]


def test_a_result_tree_of_other_images_is_refused(case, tmp_path):
    with pytest.raises(ValueError, match="positions in another data set: .*0000003.png is not tiny-3"):
        explained(case, counterfactuals=result_tree(tmp_path, 1 - TINY.image[3].numpy()))


def test_a_choice_of_result_trees_is_named(case, tmp_path):
    root = result_tree(tmp_path)
    (root / "Results" / "other" / "CC" / "CCF" / "CF").mkdir(parents=True)
    with pytest.raises(ValueError, match="several result trees: choose one of .*exp, .*other"):
        explained(case, counterfactuals=root)


def test_no_file_of_a_folder_stays_open(tmp_path):
    """A folder may have more files than a process may open."""
    folder, before = write_maps(tmp_path, "-folder"), len(os.listdir("/proc/self/fd"))
    explainer = StoredExplainer(maps=str(folder), dataset=TINY)
    assert len(os.listdir("/proc/self/fd")) == before and explainer.cost(SHAPE).queries == 0


def test_one_message_lists_what_does_not_fit(case, tmp_path):
    np.savez(tmp_path / "maps.npz", **{"tiny-1": np.zeros((8, 8)), "tiny-2": np.zeros((4, 4)), "cat": np.zeros((8, 8))})
    with pytest.raises(ValueError) as raised:
        explained(case, maps=tmp_path / "maps.npz")
    text = str(raised.value)
    assert "nothing for 1 of the 3 images of the job: tiny-3" in text and "\n" not in text
    assert "entries of no image of the data set: cat; names are image ids, such as tiny-0" in text
    assert "of another size than [8, 8]: tiny-2 [4, 4]" in text


@pytest.mark.parametrize("layout", [".npz", ".safetensors", ".parquet"])
def test_duplicate_ids_are_refused(layout, case, tmp_path):
    path = write_maps(tmp_path, layout, ids=["tiny-1", "tiny-2", "tiny-3", "tiny-1"])
    with pytest.raises(ValueError, match="several entries for tiny-1"):
        explained(case, maps=path)


def test_two_files_of_one_image_are_refused(case, tmp_path):
    folder = write_maps(tmp_path, "-folder")
    Image.new("L", (8, 8)).save(folder / "tiny-1.png")
    with pytest.raises(ValueError, match="several entries for tiny-1"):
        explained(case, maps=folder)


def test_a_file_that_explains_other_classes_is_refused(case, tmp_path):
    np.savez(tmp_path / "maps.npz", ids=IDS, maps=MAPS, target=[0, 1, 1, 0])
    with pytest.raises(ValueError, match="other classes .*: tiny-2 class 1, not 0$"):
        explained(case, maps=tmp_path / "maps.npz")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"schema": 99, "images": []}, "schema 99, this version reads up to 1: install a newer"),
        ({"images": []}, "no schema number"),
        ({"schema": 1, "images": [{"file": "a.npy"}]}, "must list images, each with image_id"),
        ({"schema": 1, "images": [{"image_id": "tiny-1", "attribution": "a.npy"}]}, "a.npy, which .* does not exist"),
    ],
)
def test_manifests_that_cannot_be_read(content, text, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        StoredExplainer(maps=str(tmp_path), dataset=TINY)


def test_arrays_in_the_order_of_the_data_set_are_all_of_it(case, tmp_path):
    np.save(tmp_path / "maps.npy", MAPS[:3])
    with pytest.raises(ValueError, match="3 entries without ids, split test has 4 images"):
        explained(case, maps=tmp_path / "maps.npy")


@pytest.mark.parametrize(
    ("name", "text"),
    [("missing.npy", "does not exist"), ("maps.pt", "must be a folder, manifest.json or a file of"), ("", "no files")],
)
def test_other_files_are_refused(name, text, tmp_path):
    (tmp_path / "maps.pt").write_bytes(b"")
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        StoredExplainer(maps=str(tmp_path / name), dataset=TINY)


def test_no_file_is_a_problem_of_the_config():
    with pytest.raises(ValueError, match="explainer.maps is missing: give explainer.maps=<file or folder>"):
        StoredExplainer(dataset=TINY)


def test_names_of_files_in_folders(tmp_path):
    """Ids of image folders are paths: with their suffix or without, as folders or with _ for /."""
    for kind in ("cat", "dog"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for k in range(2):
            Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "data" / kind / f"{k}.png")
    data = ImageFolder(root=str(tmp_path / "data"), size_px=8, val_fraction=0, test_fraction=0, split="train")
    maps = dict(zip(("cat/0", "cat_1", "dog/0.png", "dog_1.png"), MAPS, strict=True))
    for name, values in maps.items():
        (tmp_path / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "maps" / f"{name}.npy", values)
    explainer, batch = StoredExplainer(maps=str(tmp_path / "maps"), dataset=data), data.batch(range(4))
    explainer.check_images(lambda: {name: i for i, name in enumerate(batch.image_id)})
    made = explainer.explain(Case(batch, torch.zeros(4, dtype=torch.long)))
    assert batch.image_id == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert torch.equal(made.attribution, torch.from_numpy(MAPS))
    np.save(tmp_path / "maps" / "cat_0.npy", MAPS[0])
    with pytest.raises(ValueError, match="several entries for image cat/0.png: cat/0, cat_0"):
        StoredExplainer(maps=str(tmp_path / "maps"), dataset=data).check_images(lambda: {"cat/0.png": 0})


def test_images_that_are_drawn_twice_share_a_map(case, tmp_path):
    explainer = StoredExplainer(maps=str(write_maps(tmp_path, ".npz")), dataset=TINY)
    explainer.check_images(lambda: {"tiny-1": 1, "tiny-1#2": 1})


@pytest.mark.parametrize("target", [np.array(1), np.array([1, 1]), np.ones((3, 1), int)])
def test_classes_of_another_number_than_maps_are_refused(target, case, tmp_path):
    np.savez(tmp_path / "maps.npz", ids=np.array(IDS[:3]), maps=np.asarray(MAPS)[:3], target=target)
    with pytest.raises(ValueError, match=r"target must be \[3\], one for each image"):
        explained(case, maps=str(tmp_path / "maps.npz"))
