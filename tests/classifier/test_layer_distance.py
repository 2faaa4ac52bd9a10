import pytest
import torch

from pomelo_lab.classifier.layer_distance import (
    PerceptualDistance,
    feature_distance,
    fill_lpips,
    lpips,
    mean_distance,
    unit_distance,
    untrained_lpips,
)
from tests.explainer.gradients import rectified
from tests.tiny import tiny_batch, tiny_image


class Pictures:
    """Training images, and which of them were asked for."""

    def __init__(self, n):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def order(self):
        return torch.arange(self.n)

    def unmasked(self, rows):
        self.asked += list(rows)
        return tiny_batch(self.n).select(rows)


def brightness(first, second):
    return (first - second).abs().mean((1, 2, 3))


def test_distance_by_hand():
    network, image, other = rectified(), tiny_image(2), tiny_image(2, seed=1)
    a, b = (network.network[0](x.double()).float() for x in (image, other))
    torch.testing.assert_close(
        feature_distance(network, ["0"], image, other), (a - b).square().mean((1, 2, 3)), atol=1e-5, rtol=0
    )
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    torch.testing.assert_close(
        unit_distance(network, ["0"], image, other), (a - b).square().sum(1).mean((1, 2)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("between", [feature_distance, unit_distance])
def test_losses_can_be_differentiated(between):
    network, image, other = rectified(), tiny_image(2).requires_grad_(True), tiny_image(2, seed=1)
    (slope,) = torch.autograd.grad(between(network, ["0"], image, other).sum(), image)
    assert slope.isfinite().all() and slope.abs().sum() > 0


def test_the_unit_is_the_mean_of_pairs_of_different_images():
    training = Pictures(7)
    images = tiny_batch(7).image
    mean = mean_distance(brightness, training, 3)
    torch.testing.assert_close(mean, brightness(images[:3], images[3:6]).double().mean())
    assert sorted(training.asked) == list(range(6))  # each in one pair
    torch.testing.assert_close(mean_distance(brightness, Pictures(7), 100), mean)  # as many pairs as there are
    torch.testing.assert_close(
        PerceptualDistance(brightness, float(mean))(images[:3], images[3:6]).double().mean(), torch.tensor(1.0).double()
    )
    with pytest.raises(ValueError, match="sees a distance of 0 between two training images"):
        mean_distance(lambda first, second: 0 * brightness(first, second), training, 3)


def test_lpips_itself_from_its_file(tmp_path):
    """The same numbers as the network that the file was saved from, differentiable; another network's file is
    refused."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        known = untrained_lpips("alex")
    path = tmp_path / "alexnet.pth"
    names = (name.split(".", 1)[1] for name in known.net.state_dict())
    torch.save(
        {f"features.{name}": value for name, value in zip(names, known.net.state_dict().values(), strict=True)}, path
    )
    between = lpips(str(path), "alex")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        image, other = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = known.eval()(image, other, normalize=True).flatten()
    torch.testing.assert_close(between(image, other), expected)
    assert torch.autograd.grad(between(image, other).sum(), image)[0].abs().sum() > 0
    with pytest.raises(ValueError, match=r"explainer.lpips: .* does not fit the vgg backbone"):
        fill_lpips(untrained_lpips("vgg"), str(path), "vgg", "explainer.lpips")
