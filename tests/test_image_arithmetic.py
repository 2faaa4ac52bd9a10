import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pomelo_lab.image_arithmetic import blur, blur_matrix, in_colour
from tests.tiny import tiny_image


@pytest.mark.parametrize(("size", "sigma"), [((64, 48), 5.0), ((8, 8), 5.0), ((16, 1), 2.0), ((20, 20), 0.3)])
def test_the_blur_is_scipy_s_mirrored_gaussian(size, sigma):
    image = tiny_image(2, (3, *size)).double()
    theirs = gaussian_filter(image.numpy(), sigma=(0, 0, sigma, sigma), mode="mirror", truncate=4.0)
    np.testing.assert_allclose(blur(image, sigma).numpy(), theirs, atol=1e-12)


def test_a_given_radius_ends_the_gaussian_as_torchvision_s_kernel_does():
    """Sigma 15 in 29 taps, the insertion game of InputIBA's tutorial."""
    from torchvision.transforms.functional import gaussian_blur

    image = tiny_image(2, (3, 40, 48)).double()
    torch.testing.assert_close(blur(image, 15.0, radius_px=14), gaussian_blur(image, 29, 15.0), atol=1e-9, rtol=0)
    assert not torch.allclose(blur(image, 15.0, radius_px=14), blur(image, 15.0), atol=1e-3)


def test_rows_sum_to_one_so_a_flat_image_stays():
    torch.testing.assert_close(blur_matrix(64, 5.0).sum(1), torch.ones(64, dtype=torch.float64))


def test_gray_images_get_three_equal_channels_and_colour_stays():
    gray, colour = tiny_image(2, (1, 4, 4)), tiny_image(2)
    assert torch.equal(in_colour(gray), torch.cat([gray] * 3, 1)) and in_colour(colour) is colour
