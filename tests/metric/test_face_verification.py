"""FVA and FS: the network against a plain reading of its description, colours and sizes, the threshold."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.compat import ensure
from pomelo_lab.metric.face_verification import FaceSimilarity, FaceVerification, resnet
from tests.metric.counterfactuals import case_of
from tests.metric.networks import MeanColour, lively
from tests.tiny import tiny_image


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(state dict, its file)."""
    from safetensors.torch import save_file

    state = {
        name: value for name, value in lively(resnet()).state_dict().items() if not name.endswith("num_batches_tracked")
    }
    path = tmp_path_factory.mktemp("vggface2") / "resnet50_ft_weight.safetensors"
    save_file(state, path)
    return state, str(path)


def described(state, x):
    """ResNet-50 as it came from Caffe: strides in the first convolutions of a layer's first block, a first pooling
    without padding that rounds up."""

    def convolved(x, name, norm, **options):
        x = F.conv2d(x, state[f"{name}.weight"], **options)
        return F.batch_norm(x, *(state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    x = F.max_pool2d(convolved(x, "conv1", "bn1", stride=2, padding=3).relu(), 3, 2, ceil_mode=True)
    for layer, n in enumerate((3, 4, 6, 3), 1):
        for block in range(n):
            at, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = convolved(x, f"{at}.conv1", f"{at}.bn1", stride=stride).relu()
            inner = convolved(inner, f"{at}.conv2", f"{at}.bn2", padding=1).relu()
            inner = convolved(inner, f"{at}.conv3", f"{at}.bn3")
            x = (
                inner + (convolved(x, f"{at}.downsample.0", f"{at}.downsample.1", stride=stride) if block == 0 else x)
            ).relu()
    assert x.shape[2:] == (7, 7)
    return F.avg_pool2d(x, 7).flatten(1)


def test_features_are_the_described_network_s(published):
    state, path = published
    metric, images = FaceSimilarity(weights=path), tiny_image(2, (3, 40, 40))
    expected = described(state, metric.preprocess(images))
    feature_vectors = metric.features(images)
    assert (
        feature_vectors.shape == (2, 2048)
        and float((expected[0] - expected[1]).abs().mean() / expected.abs().mean()) > 0.01
    )
    torch.testing.assert_close(feature_vectors, expected, atol=0, rtol=2e-3)
    case = case_of(image=images, counterfactual=images.flip(0), flipped=torch.tensor([1.0, 0]))
    value = metric.score(case)["value"]
    torch.testing.assert_close(
        value[0], F.cosine_similarity(expected[:1].double(), expected[1:].double())[0], atol=1e-4, rtol=0
    )
    assert value[1].isnan()  # not a success


def test_blue_comes_first_and_its_mean_is_taken_off(published):
    metric = FaceSimilarity(weights=published[1])
    metric.network = MeanColour()
    # red 200, green 100, blue 50
    image = (torch.tensor([200.0, 100.0, 50.0]) / 255)[None, :, None, None].expand(1, 3, 16, 16)
    torch.testing.assert_close(
        metric.features(image), torch.tensor([[50 - 91.4953, 100 - 103.8827, 200 - 131.0912]]), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("size", [64, 256])
def test_sizes_change_as_pillow_changes_them(published, size):
    import numpy as np
    from PIL import Image

    smooth = F.interpolate(
        torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0)), (size, size), mode="bilinear"
    )
    bytes_ = (smooth * 255).round().to(torch.uint8)
    resized = np.asarray(
        Image.fromarray(bytes_[0].permute(1, 2, 0).numpy()).resize((224, 224), Image.Resampling.BILINEAR)
    )
    expected = (
        torch.tensor(resized[:, :, ::-1].copy()).permute(2, 0, 1)
        - torch.tensor([91.4953, 103.8827, 131.0912])[:, None, None]
    )
    # a level
    assert float((FaceSimilarity(weights=published[1]).preprocess(bytes_ / 255)[0] - expected).abs().max()) < 1.01


def test_verified_above_one_half(published):
    class Colour(nn.Module):
        def forward(self, x):  # undoes the scaling: a cosine of colours that is known
            return (x + torch.tensor([91.4953, 103.8827, 131.0912])[:, None, None]).mean((2, 3))

    metric = FaceVerification(weights=published[1])
    metric.network = Colour()
    image = torch.tensor([[1.0, 0, 0]] * 3)[:, :, None, None].expand(-1, -1, 8, 8)
    other = torch.tensor([[0.4, 0.6, 0], [0.4, 0.8, 0], [1, 0, 0]])[:, :, None, None].expand(-1, -1, 8, 8)
    scores = metric.score(case_of(image=image, counterfactual=other))
    # 0.55, 0.45, 1
    torch.testing.assert_close(
        scores["cosine"], torch.tensor([0.4 / 0.52**0.5, 0.4 / 0.8**0.5, 1.0]), atol=1e-3, rtol=0
    )
    assert scores["value"].tolist() == [1, 0, 1] and not metric.fits
    assert "threshold" not in vars(metric)  # it belongs to the network


def test_another_resnet_is_refused(tmp_path):
    ensure()
    from torchvision.models import resnet50

    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50-11ad3fa6.pth")
    with pytest.raises(
        ValueError,
        match=r"metric FaceVerification: weights: .*does not fit VGGFace2's .*fc.weight is "
        r"\[1000, 2048\]",
    ):
        FaceVerification(weights=str(tmp_path / "resnet50-11ad3fa6.pth"))
