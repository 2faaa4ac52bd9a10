"""What holds for every sampler that has a yaml; `pomelo_lab.conformance.sampler` says it."""

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.conformance import sampler
from tests.contract.trials import each, keep, names, trial

LEFT_OUT = {"reference_cifar10": "reference_dataset with another folder"}
CHOSEN = {"reference_dataset": ("dataset@sampler.source=digits",), "callable": ("sampler.function=tests.every:darker",)}


@each("sampler", left_out=LEFT_OUT)
def test_every_sampler(name, rule):
    keep(rule, trial("sampler", name, *CHOSEN.get(name, ())))


@pytest.mark.parametrize("name", ["gray", "noise", "ddim", "inpaint"])
def test_another_seed_gives_other_perturbations(name):
    tried = trial("sampler", name)
    other = tried.component.perturb(sampler.batch_of(tried), sampler.segments_of(tried), sampler.N, RandomStreams(1))
    assert not torch.equal(other.image, sampler.perturbed(tried).image)


def test_all_files_are_tried():
    assert set(LEFT_OUT) | set(CHOSEN) <= set(names("sampler"))
