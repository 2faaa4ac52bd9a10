import pytest
import torch

from pomelo_lab import philox
from pomelo_lab.batching import MicroBatches, RandomStreams
from pomelo_lab.sampler.generated import GeneratedSampler
from pomelo_lab.sampler.generated_ddpm import GeneratedDDPMSampler
from pomelo_lab.types import Perturbations
from tests.sampler.exact import apart, counted, gaussian_batch, node_of, tiny_ddpm, tiny_glow
from tests.tiny import tiny_batch

BOTH = [
    (GeneratedDDPMSampler(generator=tiny_ddpm(), n_steps=6), gaussian_batch(3)),
    (GeneratedSampler(generator=tiny_glow()), tiny_batch(3)),
]


@pytest.mark.parametrize("sampler, batch", BOTH)
def test_images_do_not_depend_on_the_image(sampler, batch):
    perturbed_images = sampler.perturb(batch, None, 4, RandomStreams(0)).image
    other = batch.__class__(**{**vars(batch), "image": 1 - batch.image})
    assert torch.equal(sampler.perturb(other, None, 4, RandomStreams(0)).image, perturbed_images)
    assert not torch.equal(perturbed_images[0], perturbed_images[1]) and not torch.equal(
        perturbed_images[:, 0], perturbed_images[:, 1]
    )


@pytest.mark.parametrize("sampler, batch", BOTH)
def test_batch_size_and_neighbours_do_not_matter_and_evaluations_are_counted(sampler, batch):
    calls = counted(sampler.generator)
    whole = sampler.perturb(batch, None, 4, RandomStreams(0)).image
    assert sum(calls) == 3 * sampler.cost(4).evaluations
    sampler.generator.forwards = MicroBatches(3)
    assert apart(sampler.perturb(batch.select([1]), None, 4, RandomStreams(0)).image, whole[1:2]) <= 1
    assert apart(sampler.perturb(batch, None, 2, RandomStreams(0)).image, whole[:, :2]) <= 1


def test_a_flow_s_images_are_its_decoded_normals():
    sampler = GeneratedSampler(generator=tiny_glow())
    perturbed_images = sampler.perturb(tiny_batch(2), None, 2, RandomStreams(0)).image[1, 1]
    normal = philox.normal([RandomStreams(0).key(tiny_batch(2).image_id[1], "generated.1")], 192)
    assert apart(perturbed_images, Perturbations.quantize(sampler.generator.decode(normal)[0])) <= 1


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_temperature_is_the_deviation_of_the_normals(temperature):
    """Of a flow that only rotates, by hand; of a diffusion model with steps that add noise: at 0 nothing is drawn, all
    images are one."""
    flow = GeneratedSampler(generator=tiny_glow(), temperature=temperature)
    perturbed_images = flow.perturb(tiny_batch(1), None, 1, RandomStreams(0)).image[0, 0]
    normal = philox.normal([RandomStreams(0).key(tiny_batch(1).image_id[0], "generated.0")], 192)
    assert apart(perturbed_images, Perturbations.quantize(flow.generator.decode(temperature * normal)[0])) <= 1
    diffusion = GeneratedDDPMSampler(generator=tiny_ddpm(), n_steps=4, temperature=temperature)
    images = diffusion.perturb(gaussian_batch(2), None, 2, RandomStreams(0)).image.flatten(0, 1)
    assert (len(images.unique(dim=0)) == 1) == (temperature == 0)


def test_yaml_is_the_constructor():
    assert node_of("generated_glow") == {
        "_target_": "pomelo_lab.sampler.generated.GeneratedSampler",
        "temperature": 1.0,
    }
