"""Which images of CelebA networks learn from."""

from pomelo_lab.config.build import build
from pomelo_lab.config.training_data import training_data
from pomelo_lab.dataset.celeba import CelebA
from pomelo_lab.training.trained import training_key
from tests.dataset.fixtures import make_celeba, make_celebamask_hq

TARGET = "pomelo_lab.dataset.celeba.CelebA"


def test_training_without_labels_sees_the_label_only_where_it_chooses_images():
    assert CelebA.label_arguments({}) == () and CelebA.label_arguments({"label": "Young"}) == ("label",)


def trained_on(component, given):
    """What networks learn from, as image names, and the digest of that."""
    node = {"_target_": TARGET, **given}
    data = build(training_data(component, node)).at("train")
    return sorted(name[-6:] for name in data.batch(range(len(data))).image_id), training_key(component, node)


GLOW = {"_target_": "pomelo_lab.generator.glow.Glow"}
RESNET = {"_target_": "pomelo_lab.classifier.torchvision.TorchvisionClassifier", "architecture": "resnet18"}
MIXED = {
    "000001.jpg": (0, ("Blond_Hair",)),
    "000002.jpg": (0, ("Brown_Hair", "Black_Hair")),
    "000003.jpg": (0, ("Smiling",)),
    "000004.jpg": (1, ("Bald",)),
}


def test_generators_learn_from_ambiguous_hair_too_and_classifiers_of_it_do_not(tmp_path):
    given = {"root": str(make_celeba(tmp_path / "mixed", MIXED))}
    generator, classifier = trained_on(GLOW, given), trained_on(RESNET, given)
    assert generator[0] == ["000001", "000002", "000003"] and classifier[0] == ["000001"]
    assert trained_on(GLOW, {**given, "label": "Young"}) == generator
    assert trained_on(RESNET, {**given, "label": "Young"})[0] == generator[0]
    assert len(CelebA(**given, split="train")) == 1  # images that are explained have one hair colour


def test_images_with_masks_are_explained_by_the_networks_of_celeba(tmp_path):
    root, masks_root = make_celeba(tmp_path / "celeba"), make_celebamask_hq(tmp_path / "hq")
    aligned = {"root": str(root), "crop_px": 178}
    masked = {
        "root": str(root),
        "frame": "hq",
        "masks_root": str(masks_root),
        "masked_only": True,
        "train_frame": "aligned",
    }
    for component in (GLOW, RESNET):
        assert trained_on(component, masked) == trained_on(component, aligned)
    own = trained_on(RESNET, {**masked, "train_frame": None})
    assert own[1] != trained_on(RESNET, aligned)[1]
    # who has a mask does not decide who is learnt from
    assert own == trained_on(RESNET, {**masked, "train_frame": None, "masked_only": False})
