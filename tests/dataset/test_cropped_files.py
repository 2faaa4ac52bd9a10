import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.cropped_files import Crop, read_cropped
from pomelo_lab.dataset.image_file import to_unit
from pomelo_lab.types import tight_box
from tests.dataset.fixtures import picture

SIZES = [(500, 375), (375, 500), (333, 501), (256, 256), (101, 997), (90, 64)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize_px, size_px", [(256, 224), (61, 40), (32, 32)])
def test_pixels_are_those_of_torchvisions_transform(tmp_path, size, resize_px, size_px):
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    picture(1, *size).save(tmp_path / "a.png")
    image, crop, of_file = read_cropped(tmp_path / "a.png", resize_px, size_px)
    assert of_file == size and (crop.width, crop.height).count(resize_px) and image.dtype == torch.uint8
    assert torch.equal(
        image, Compose([Resize(resize_px), CenterCrop(size_px), PILToTensor()])(Image.open(tmp_path / "a.png"))
    )


@pytest.mark.parametrize("size", SIZES[:4])
@pytest.mark.parametrize("box", [(0.2, 0.3, 0.6, 0.9), (0.0, 0.0, 0.5, 1.0), (0.55, 0.1, 1.0, 0.45)])
def test_a_box_goes_where_its_object_goes(tmp_path, size, box):
    """The tight box of a red rectangle in the cut image is its transformed box, within a pixel."""
    (width, height), (left, top, right, bottom) = size, box
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    edges = [round(left * width), round(top * height), round(right * width), round(bottom * height)]
    pixels[edges[1] : edges[3], edges[0] : edges[2], 0] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, crop, _ = read_cropped(tmp_path / "a.png", 256, 224)
    cropped_boxes = crop.boxes(torch.tensor([edges]) / torch.tensor([width, height, width, height]))
    assert cropped_boxes.shape == (1, 4)
    assert torch.allclose(cropped_boxes[0], tight_box(to_unit(image)[0] > 0.5), atol=1.0, rtol=0)


def test_boxes_are_exact_clipped_and_dropped():
    crop = Crop.of(512, 256, 256, 224)  # no resize: 144 columns and 16 rows are cut off on each side
    assert crop == (512, 256, 144, 16, 224)
    pixels = torch.tensor(
        [[200, 100, 300, 200], [0, 0, 512, 256], [0, 0, 144, 256], [368, 0, 500, 256], [100, 0, 145, 17]]
    )
    cropped_boxes = crop.boxes(pixels / torch.tensor([512, 256, 512, 256]))
    assert cropped_boxes.tolist() == [[56, 84, 156, 184], [0, 0, 224, 224], [0, 0, 1, 1]]
    assert crop.boxes(torch.empty(0, 4)).shape == (0, 4)
