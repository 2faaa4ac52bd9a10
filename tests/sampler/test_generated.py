import math

import pytest
import torch

from pomelo_lab.batching import Forwards, Streams
from pomelo_lab.sampler.generated import GeneratedSampler
from tests.sampler.exact import MEAN, SIGMA, apart, counted, gaussian_batch, gaussian_ddpm, node_of, tiny_ddpm, tiny_glow
from tests.tiny import tiny_batch


def test_images_follow_the_generator_and_not_the_image():
    sampler, batch = GeneratedSampler(generator=gaussian_ddpm()), gaussian_batch(2)
    found = sampler.perturb(batch, None, 40, Streams(0)).image.float() / 255 * 2 - 1
    n = found.numel()
    assert found.mean().item() == pytest.approx(MEAN, abs=4 * SIGMA / math.sqrt(n) + 2e-3)
    assert found.std().item() == pytest.approx(SIGMA, rel=0.06)  # 50 DDIM steps
    brighter = sampler.perturb(batch.__class__(**{**vars(batch), "image": 1 - batch.image}), None, 40, Streams(0)).image.float() / 255 * 2 - 1
    assert torch.equal(found, brighter)


@pytest.mark.parametrize("generator, batch", [(tiny_ddpm(), gaussian_batch(3)), (tiny_glow(), tiny_batch(3))])
def test_batch_size_and_neighbours_do_not_matter_and_evaluations_are_counted(generator, batch):
    sampler, calls = GeneratedSampler(generator=generator), counted(generator)
    whole = sampler.perturb(batch, None, 4, Streams(0)).image
    assert sum(calls) == 3 * sampler.evaluations(4)
    generator.forwards = Forwards(3)
    assert apart(sampler.perturb(batch.select([1]), None, 4, Streams(0)).image, whole[1:2]) <= 1
    assert apart(sampler.perturb(batch, None, 2, Streams(0)).image, whole[:, :2]) <= 1


@pytest.mark.parametrize("name", ["generated_glow", "generated_ddpm"])
def test_yaml_is_the_constructor(name):
    assert node_of(name) == {"_target_": "pomelo_lab.sampler.generated.GeneratedSampler"}
