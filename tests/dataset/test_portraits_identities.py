import torch

from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.dataset.portraits_identities import PortraitsIdentities
from tests.dataset.contract import check_contract

SMALL = {"size_px": 24, "n_train": 40, "n_val": 20, "n_test": 20, "n_people": 7}


def data(**given):
    return PortraitsIdentities(**{**SMALL, **given})


def test_contract():
    check_contract(data())


def test_people_stay_and_the_rest_changes():
    one = data(split="train")
    drawn_factors = one.factors(range(40))
    assert torch.equal(one.batch(range(40)).label, torch.arange(40) % 7) and one.num_classes == 7
    for name in one.group("person"):
        assert torch.equal(drawn_factors[name][:7], drawn_factors[name][7:14]), name
    changed = [name for name in one.group("style", "expression", "pose", "scene") if name != "mark"]
    assert all(not torch.equal(drawn_factors[name][:7], drawn_factors[name][7:14]) for name in changed)
    other = data(split="val").factors(range(20))
    assert torch.equal(other["jaw"][:7], drawn_factors["jaw"][:7]) and not torch.equal(
        other["x"][:7], drawn_factors["x"][:7]
    )


def test_they_are_not_the_people_of_portraits():
    people = Portraits(size_px=24, n_train=40, split="train").factors(range(40))
    assert not torch.equal(people["jaw"][:7], data(split="train").factors(range(7))["jaw"])
    assert data(n_people=5).digest() != data().digest()
