"""A user's network as a classifier."""

import pytest
import torch
from torch import nn

from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.module import ModuleClassifier
from pomelo_lab.config.check import ConfigError
from pomelo_lab.engine.preflight import check
from pomelo_lab.network import TrainableNetwork
from tests.every import job, small_network
from tests.running import TINY, command, scores

HERE = "tests.classifier.test_module"
SHAPE = [3, 16, 16]
IMAGES = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
SMALL = {"factory": "tests.every:small_network", "image_shape": SHAPE}
EXISTING = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))


class Wrapped(nn.Module):
    """A network that answers an object, and calls its head before another layer."""

    def __init__(self, key="logits"):
        super().__init__()
        self.head, self.aside, self.key = nn.Linear(768, 5), nn.Linear(768, 7), key

    def forward(self, images):
        logits = self.head(images.flatten(1))
        self.aside(images.flatten(1))
        return type("Answer", (), {self.key: logits})()


class Maps(nn.Module):
    """A network that answers a map of classes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, images):
        return self.layer(images)


def no_network(**arguments):
    return arguments


def failing():
    raise KeyError("no such file")


def saved(tmp_path, **arguments):
    """A file of weights, and the network that has them."""
    torch.manual_seed(3)
    network = small_network(**arguments).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth"), network


def test_its_answers_are_those_of_the_network(tmp_path):
    weights, network = saved(tmp_path, n_classes=7)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    ours = ModuleClassifier(**SMALL, arguments={"n_classes": 7}, weights=weights, mean=mean, std=std)
    given = (IMAGES - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(ours.probability(IMAGES), network(given).softmax(-1), atol=1e-6, rtol=0)
    assert ours.num_classes == 7
    attributes = ModuleClassifier(**SMALL, arguments={"n_classes": 7}, weights=weights, output="sigmoid")
    torch.testing.assert_close(attributes.probability(IMAGES), network(IMAGES).sigmoid(), atol=1e-6, rtol=0)


def test_head_and_middle_layer_are_found_or_named():
    ours = ModuleClassifier(**SMALL)
    assert (ours.head_layer, ours.middle) == ("head", "block") and ours.head is ours.network.head
    torch.testing.assert_close(ours.head(ours.feature(IMAGES)), ours.logit(IMAGES))
    assert not any(getattr(part, "inplace", False) for part in ours.network.modules())
    named = ModuleClassifier(**SMALL, middle_layer="stem")
    assert named.bottleneck(None) is named.network.stem and named.digest() != ours.digest()
    with pytest.raises(ValueError, match=r"layer 'sten' does not exist in Sequential, did you mean 'stem'"):
        ModuleClassifier(**SMALL, middle_layer="sten")


def test_an_object_with_logits_is_unpacked_and_its_head_is_the_layer_that_gives_them():
    ours = ModuleClassifier(factory=f"{HERE}:Wrapped", image_shape=SHAPE)
    assert (ours.num_classes, ours.head_layer, ours.middle) == (5, "head", None)
    with pytest.raises(ValueError, match="explainer.layer must name a layer"):
        ours.bottleneck(None)


def test_a_module_that_exists_is_copied():
    ours = ModuleClassifier(factory=f"{HERE}:EXISTING", image_shape=SHAPE)
    torch.testing.assert_close(ours.logit(IMAGES), EXISTING(IMAGES))
    assert EXISTING.training and ours.network is not EXISTING


@pytest.mark.parametrize("size", [16, [8, 24]])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_as_torchvision_does_and_gradients_arrive_at_their_pixels(size, interpolation):
    from pomelo_lab.compat import ensure

    ensure()
    from torchvision.transforms.functional import InterpolationMode, resize

    small = ModuleClassifier(**{**SMALL, "image_shape": [3, 40, 48]}, input_px=size, interpolation=interpolation)
    images = torch.rand(2, 3, 40, 48).requires_grad_()
    target = [size, size] if isinstance(size, int) else size
    right = resize(images, target, InterpolationMode(interpolation), antialias=True)
    torch.testing.assert_close(small.logit(images), small.network(right), atol=1e-6, rtol=0)
    (gradient,) = torch.autograd.grad(small.logit(images).logsumexp(-1).sum(), images)
    assert gradient.shape == images.shape and bool((gradient.abs().amax((0, 1)) > 0).all())


def test_gray_images_have_three_channels_where_the_mean_has():
    ours = ModuleClassifier(**{**SMALL, "image_shape": [1, 16, 16]}, mean=[0.1, 0.2, 0.3])
    gray = IMAGES[:, :1]
    torch.testing.assert_close(ours.logit(gray), ours.logit(gray.expand(-1, 3, -1, -1)))


def test_the_digest_is_that_of_contents(tmp_path):
    weights, _ = saved(tmp_path)
    code = "from tests.every import small_network as make\n\ndef build(n_classes=10):\n    return make(n_classes)\n"
    for name, text in (("one", code), ("two", code), ("three", code.replace("n_classes)\n", "n_classes=n_classes)\n"))):
        (tmp_path / f"{name}.py").write_text(text)
    given = {"image_shape": SHAPE, "weights": weights}
    one, two, three = (
        ModuleClassifier(factory=f"{tmp_path / name}.py:build", **given).digest() for name in ("one", "two", "three")
    )
    assert one == two != three
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes((tmp_path / "weights.pth").read_bytes())
    base = ModuleClassifier(**SMALL, weights=weights).digest()
    assert ModuleClassifier(**SMALL, weights=str(moved)).digest() == base
    for change in ({"mean": 0.5}, {"input_px": 8}, {"version": 2}, {"class_names": [*"abcdefghij"]}, {"weights": None}):
        assert ModuleClassifier(**{**SMALL, "weights": weights, **change}).digest() != base


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"factory": "nosuchpackage.m:f"}, "classifier.factory: cannot import nosuchpackage"),
        ({"factory": "tests.every:small_netwrk"}, "did you mean 'small_network'"),
        ({"factory": f"{HERE}:no_network"}, "no_network must return a torch.nn.Module, got dict"),
        ({"factory": f"{HERE}:failing"}, r"failing: KeyError: 'no such file' \(.*test_module.py, line"),
        ({"arguments": {"classes": 3}}, "classifier.factory=tests.every:small_network: TypeError: .*'classes'"),
        ({"factory": f"{HERE}:Maps"}, r"Maps must answer logits \[B,K\], got \[2, 5, 16, 16\] for 2 images"),
        ({"factory": f"{HERE}:Wrapped", "arguments": {"key": "scores"}}, "an object with logits, got Answer"),
        ({"arguments": {"n_classes": 1}}, r"got \[2, 1\] for 2 images; the softmax of one output is always 1"),
        ({"image_shape": [1, 16, 16]}, "cannot take images of 1x16x16"),
        ({"class_names": ["a", "b"]}, "classifier.class_names must be 10 names, .*small_network, got 2"),
        ({"input_px": [1, 2, 3]}, r"classifier.input_px must be a side or \[height, width\], got \[1, 2, 3\]"),
        ({"image_shape": None}, "classifier.image_shape is missing: the job fills it"),
        ({"std": 0.0}, "classifier.std must be > 0, got 0.0"),
    ],
)
def test_mistakes_are_named(given, text):
    with pytest.raises(ValueError, match=text):
        ModuleClassifier(**{**SMALL, **given})


def test_weights_that_do_not_fit_are_refused(tmp_path):
    weights, _ = saved(tmp_path, n_classes=3)
    with pytest.raises(ValueError, match=r"classifier.weights: .* does not fit classifier.factory=tests.every"):
        ModuleClassifier(**SMALL, weights=weights)


def test_a_job_fills_in_the_shape_of_its_images(tmp_path):
    made = job(tmp_path, "classifier=module", "classifier.factory=tests.every:small_network", "explainer=grad_cam")
    assert made.parts.classifier.num_classes == 10
    white = view(made.parts.classifier, "white_box", 4)
    assert white.feature(made.batch(0).image).shape == (len(made.batch(0).image), 12)
    assert isinstance(made.parts.classifier, TrainableNetwork)


def test_a_target_is_a_name_of_the_outputs_where_they_have_names(tmp_path):
    names = [f"kind {k}" for k in range(12)]
    asked = [
        "classifier=module",
        "classifier.factory=tests.every:small_network",
        "classifier.arguments={n_classes: 12}",
    ]
    made = job(tmp_path, *asked, f"classifier.class_names={names}", "target=kind 11")
    check(made.parts)
    assert made.target(0).tolist() == [11] * len(made.batch(0).image)
    with pytest.raises(ConfigError, match=r"target must be predicted, label, .*kind 0.*got 'kinder 1'"):
        job(tmp_path, *asked, f"classifier.class_names={names}", "target=kinder 1")
    with pytest.raises(ValueError, match="target=3 takes the data set's 10 classes for the classifier's 12 outputs"):
        check(job(tmp_path, *asked, "target=3").parts)


def test_a_job_runs(tmp_path):
    """The tiny job without `classifier.weights`, whose key every classifier of the file may lack."""
    asked = ["classifier=module", "classifier.factory=tests.every:small_network", "explainer=iba", "sampler=gray"]
    done = command(tmp_path, *TINY, *asked, "n_images=2", tiny=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (tmp_path / "score").iterdir()
    assert len(scores(folder)["image_id"]) == 2
