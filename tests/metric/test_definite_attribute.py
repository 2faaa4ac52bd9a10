import pytest
import torch

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.definite_attribute import DefiniteAttribute
from pomelo_lab.types import Perturbations

FACES = Portraits(size_px=16)
HAIR = ["Blond_Hair", "Black_Hair", "Gray_Hair", "Brown_Hair", "Bald"]


class Levels(NetworkClassifier):
    """Sees attribute k of HAIR where the first channel's mean exceeds k/5."""

    num_classes = len(FACES.attribute_names)
    network = torch.nn.Identity()
    head = None

    def probability(self, images):
        out = torch.ones(len(images), self.num_classes)
        for k, name in enumerate(HAIR):
            out[:, FACES.attribute_names.index(name)] = (images[:, 0].mean((1, 2)) > k / 5).float()
        return out

    def digest(self):
        return "levels"


def test_share_of_images_with_exactly_one_attribute():
    # the first is the image itself: left out; then none, one, one, two, five
    level = torch.tensor([0, 0, 20, 30, 60, 255])
    image = level.to(torch.uint8)[None, :, None, None, None].expand(1, 6, 3, 16, 16)
    metric = DefiniteAttribute(dataset=FACES, oracle=Levels())
    case = Case(batch=FACES.batch([0]), perturbations=Perturbations(image=image))
    assert metric.score(case)["value"].tolist() == pytest.approx([2 / 5])


def test_unknown_attribute_is_named():
    with pytest.raises(ValueError, match="Green_Hair"):
        DefiniteAttribute(dataset=FACES, oracle=Levels(), attributes=["Green_Hair"])
