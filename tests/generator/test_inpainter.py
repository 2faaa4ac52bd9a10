import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.generator.inpainter_network import Critic, PartialConv, contextual_attention
from pomelo_lab.training.recipe import InpaintingRecipe, Recipe
from pomelo_lab.training.train import training_of

SIZE = 16


def inpainter(**options):
    return Inpainter(**{"channels": 3, "size_px": SIZE, "width": 8, "dilations": [1, 2], **options})


def images(n=3, size=SIZE):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def half(n=3, size=SIZE):
    keep = torch.ones(n, size, size)
    keep[:, : size // 2] = 0
    return keep


KINDS = [
    {},
    {"convolution": "partial"},
    {"attention": True},
    {"unshuffle": 1, "n_down": 2, "attention": True},
    {"unshuffle": 1, "n_down": 1},
]


@pytest.mark.parametrize("options", KINDS)
def test_pixels_in_the_hole_are_not_looked_at(options):
    made, image, keep = inpainter(**options), images(), half()
    other = image.clone()
    other[:, :, : SIZE // 2] = 0.9
    filled_images = made.inpaint(image, keep)
    assert (
        filled_images.shape == image.shape
        and 0 <= filled_images.min()
        and filled_images.max() <= 1
        and torch.equal(filled_images, made.inpaint(other, keep))
    )
    other = image.clone()
    other[:, :, SIZE // 2 :] = 0.9
    assert not torch.equal(filled_images, made.inpaint(other, keep))


@pytest.mark.parametrize("options", KINDS)
def test_rows_and_micro_batches(options):
    made, image = inpainter(**options), images()
    row, keep = torch.tensor([2, 0, 2, 1]), torch.cat([half(2), 1 - half(2)])
    whole = made.fill_rows(image, row, keep)
    small = inpainter(**options, batch_size=1)
    torch.testing.assert_close(small.fill_rows(image, row, keep), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(made.inpaint(image[[1]], keep[[3]]), whole[[3]], atol=1e-5, rtol=0)


def test_holes_begin_below_one_half():
    made, image = inpainter(), images()
    assert torch.equal(made.inpaint(image, torch.where(half() > 0, 0.5, 0.49)), made.inpaint(image, half()))


def test_partial_convolutions_rescale_what_they_see():
    """Equations 1 and 2 of Liu et al. (2018), place by place."""
    layer = PartialConv(2, 3)
    with torch.no_grad():
        layer.conv.bias.fill_(0.3)
    x, known = images(1, 6)[:, :2], (torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(3)) < 0.3).float()
    output, reached = layer(x, known)
    for i in range(6):
        for j in range(6):
            rows, columns = slice(max(0, i - 1), i + 2), slice(max(0, j - 1), j + 2)
            seen = known[0, 0, rows, columns].sum()
            assert reached[0, 0, i, j] == (seen > 0)
            whole = F.pad(x * known, (1, 1, 1, 1))[0, :, i : i + 3, j : j + 3]
            plain = (layer.conv.weight * whole).sum((1, 2, 3))
            expected = F.elu(plain * 9 / seen + 0.3) if seen > 0 else torch.zeros(3)
            torch.testing.assert_close(output[0, :, i, j], expected, atol=1e-5, rtol=0)


def test_attention_copies_from_the_known_place_that_looks_alike():
    feature = torch.zeros(1, 4, 6, 6)
    feature[0, 0, 1, 1] = feature[0, 0, 4, 4] = 1.0  # the same pattern twice
    feature[0, 1:, 2:4, 2:4] = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))
    known = torch.ones(1, 1, 6, 6)
    sharp = contextual_attention(feature, known, scale=1000.0)
    torch.testing.assert_close(sharp, feature, atol=0.35, rtol=0)
    known[..., 3:, 3:] = 0
    hidden = contextual_attention(feature + 5 * (1 - known) * torch.eye(4)[3][:, None, None], known, scale=50.0)
    assert hidden[0, 3].max() < 4  # what only the hole has is nowhere
    assert contextual_attention(feature, torch.zeros_like(known)).isfinite().all()


def test_the_critic_is_lipschitz_by_layer():
    critic = Critic(3, 8)
    with torch.no_grad():
        for _ in range(500):  # power iterations: where the two largest singular values are close, 50 are not enough
            critic(images(), 1 - half()[:, None])
    critic.eval()
    for layer in critic.layers:
        if isinstance(layer, torch.nn.Conv2d):
            assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1.0, abs=1e-3)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="generator.size_px must be a multiple of 4"):
        inpainter(size_px=18)
    with pytest.raises(ValueError, match="generator.dilations must be >= 1"):
        inpainter(dilations=[0])
    with pytest.raises(ValueError, match="recipe must be an InpaintingRecipe"):
        training_of(inpainter(), Recipe(), None)
    with pytest.raises(ValueError, match="holes.square is unknown; it takes freeform, box, superpixel, cell"):
        InpaintingRecipe(holes={"square": 1.0})
    with pytest.raises(ValueError, match="generator: made for images of 3x16x16, got 3x8x8"):
        inpainter().fill_rows(images(1, 8), torch.tensor([0]), half(1, 8))
