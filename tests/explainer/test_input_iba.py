"""The bottleneck at the input: its information, its generator and critic, and independence of the batch."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.bottleneck import LayerInformation
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import still_moving
from pomelo_lab.explainer.input_iba import Critics, InputIBAExplainer, MaskedNoise, Scale, information_beyond
from tests.explainer.gradients import TinyNetwork, rectified
from tests.explainer.removing import TARGET
from tests.explainer.test_iba import training
from tests.tiny import tiny_batch

SCALE = Scale(torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3]))


def input_iba(**options):
    small = {
        "layer": "0",
        "n_fit": 40,
        "n_real": 12,
        "n_groups": 3,
        "gan_batch": 5,
        "n_epochs": 2,
        "n_critic": 2,
        "n_steps": 6,
        "n_draws": 3,
    }
    return InputIBAExplainer(**{**small, **options})


def explained(explainer, batch=None, target=TARGET, batch_size=64):
    box = view(rectified(), "white_box", batch_size)
    reference = explainer.fit(training(), box)
    return explainer.explain(
        Case(tiny_batch(3) if batch is None else batch, target, box, RandomStreams(0), reference=reference)
    )


def test_information_is_the_divergence_of_the_two_normals():
    """Noise of mean 0 and deviation 1 on both sides: of the generator, its mask alone goes over, as in the code."""
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    mask = torch.randn_like(x)
    signal = torch.rand_like(x)
    share = mask.sigmoid() * signal
    expected = kl_divergence(Normal(signal * x, 1 - signal), Normal(share * x, 1 - share))
    torch.testing.assert_close(information_beyond(mask, x, signal, 1 - signal), expected, atol=1e-6, rtol=0)
    nothing = information_beyond(mask, x, torch.zeros_like(x), torch.ones_like(x))
    torch.testing.assert_close(nothing, torch.zeros_like(nothing), atol=1e-12, rtol=0)
    certain = information_beyond(mask, x, torch.ones_like(x), torch.zeros_like(x))
    assert certain.isfinite().all()


def test_generator_mixes_the_standardised_image_with_noise():
    image = torch.rand(2, 3, 8, 8)
    generator = MaskedNoise(image, SCALE, torch.full((2, 8, 8), 40.0))
    noise = torch.randn(2, 4, 3, 8, 8)
    torch.testing.assert_close(generator(noise), image[:, None].expand(2, 4, 3, 8, 8), atol=1e-5, rtol=0)
    generator.mask = torch.full((2, 3, 8, 8), -40.0)
    generator.mean, generator.std = torch.full((2, 3, 1, 1), 0.5), torch.full((2, 3, 1, 1), 2.0)
    expected = (2 * noise + 0.5) * SCALE.std[:, None, None] + SCALE.mean[:, None, None]
    torch.testing.assert_close(generator(noise), expected, atol=1e-5, rtol=0)


def test_critics_side_by_side_are_the_critics_alone():
    """Grouped convolutions and batched products against torch's own layers, one image at a time."""
    critics, values = Critics(("a", "b"), (4, 8, 8), RandomStreams(0)), torch.randn(2, 6, 4, 8, 8)
    ratings = critics(values)
    for i in range(2):
        layers = []
        for kernel, bias, side in zip(critics.kernels, critics.biases, (4, 4, 3), strict=True):
            after = kernel.shape[0] // 2
            conv = nn.Conv2d(kernel.shape[1], after, side, 2 if side == 4 else 1, 1)
            conv.weight.data, conv.bias.data = (
                kernel[i * after : (i + 1) * after].data,
                bias[i * after : (i + 1) * after].data,
            )
            layers += [conv, nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        layers.append(nn.Flatten())
        for k, (weight, offset) in enumerate(zip(critics.weights, critics.offsets, strict=True)):
            linear = nn.Linear(*weight.shape[1:])
            linear.weight.data, linear.bias.data = weight[i].T.data, offset[i, 0].data
            layers += [linear] if k == 0 else [nn.LeakyReLU(0.2), linear]
        torch.testing.assert_close(ratings[i], nn.Sequential(*layers).train()(values[i])[:, 0], atol=1e-5, rtol=0)
    critics.clip(0.01)
    assert max(float(p.abs().max()) for p in critics.parameters()) <= 0.01


def test_layers_that_give_no_map_of_four_cells_a_side_are_refused_before_anything_is_measured():
    for network, layer, named in (
        (rectified(), "6", r"layer 6 \(Linear\) gives \[3\]"),
        (pooled(), "2", "4x4 cells or more, this one gives 2x2"),
    ):
        box = view(network, "white_box", 64)
        with pytest.raises(ValueError, match=named):
            input_iba(layer=layer).check(box, tiny_batch(1).image)
        assert box.queries == 0


def pooled():
    return TinyNetwork(
        made=nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(16, 3))
    )


def test_critic_tells_real_from_made_and_the_generator_answers(monkeypatch):
    """After training, the critic's mean is higher on examples; without a generator step the mask stays where it
    began."""
    calls = []
    whole = Critics.forward
    monkeypatch.setattr(
        Critics, "forward", lambda self, values: calls.append(tuple(values.shape[:2])) or whole(self, values)
    )
    explained(input_iba(n_steps=0))
    sizes = [5, 5, 2] * 2
    assert len(calls) == 2 * 6 + 4  # two per critic step; the generator steps at places 0 and 2 of each pass
    assert [n for _, n in calls][:2] == [5, 5] and sum(n for _, n in calls) == 2 * sum(sizes) + 2 * (5 + 2)


def test_examples_keep_what_passed_and_have_noise_elsewhere():
    made, streams = input_iba(n_real=30, n_groups=3), RandomStreams(0)
    value, kept = torch.randn(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    kept[:, :, :4] = 1
    feature = LayerInformation(layer=None, value=value, nats=kept, entropy=None, losses=None)
    example_images = made.examples(("a", "b"), feature, streams)
    torch.testing.assert_close(example_images[:, :, :, :4], value[:, None, :, :4].expand(2, 30, 4, 4, 8))
    groups = example_images[0, :, :, 4:].unflatten(0, (3, 10)).flatten(1)
    mean, std = groups.mean(1), groups.std(1)
    assert (mean.abs() < 2.2).all() and (std < 5.2).all() and len(set(mean.tolist())) == 3
    assert not torch.equal(example_images[0], example_images[1])


def test_both_optimisers_say_whether_they_arrived():
    """The first loss, where 99.3 % passes, is the cross-entropy plus beta times the information; the optimiser lowers
    it."""
    extra = explained(input_iba(n_steps=20)).extra
    assert extra["loss"].shape == (3, 20) and extra["feature_loss"].shape == (3, 10)
    assert (extra["loss"][:, -1] < extra["loss"][:, 0]).all() and (
        extra["feature_loss"][:, -1] < extra["feature_loss"][:, 0]
    ).all()
    torch.testing.assert_close(extra["moving"], still_moving(extra["loss"]))
    torch.testing.assert_close(extra["feature_moving"], still_moving(extra["feature_loss"]))


def test_map_is_the_share_that_passes():
    explanation = explained(input_iba(n_steps=0))
    assert "moving" not in explanation.extra
    assert torch.allclose(explanation.attribution, torch.tensor(5.0).sigmoid().expand(3, 8, 8))
    explanation = explained(input_iba())
    assert (
        float(explanation.attribution.min()) >= 0
        and float(explanation.attribution.max()) <= 1
        and float(explanation.attribution.std()) > 0
    )
    assert float(explanation.extra["generated"].std()) > 0 and explanation.extra["feature_bits"].shape == (3, 8, 8)


def test_pixels_are_scaled_by_the_training_images():
    box = view(rectified(), "white_box", 64)
    reference = input_iba(n_fit=30).fit(training(), box)
    assert input_iba(n_fit=30).fit_cost(40) == Cost(box.queries)
    images = training().image[training().order()[:30]]
    torch.testing.assert_close(reference["pixel_mean"], images.mean((0, 2, 3)))
    torch.testing.assert_close(reference["pixel_std"], images.std((0, 2, 3), correction=0))


def test_unequal_groups():
    with pytest.raises(ValueError, match="n_real must be a multiple of n_groups=7, got 12"):
        input_iba(n_groups=7)


def test_alone_and_in_any_batch():
    batch = tiny_batch(3)
    whole = explained(input_iba(), batch)
    for size in (1, 10):
        torch.testing.assert_close(
            explained(input_iba(), batch, batch_size=size).attribution, whole.attribution, atol=1e-4, rtol=0
        )
    for i in range(3):
        alone = explained(input_iba(), batch.select([i]), TARGET[[i]])
        torch.testing.assert_close(alone.attribution[0], whole.attribution[i], atol=1e-4, rtol=0)
