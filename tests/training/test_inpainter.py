import torch
from PIL import Image

from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.training.recipe import InpaintingRecipe
from pomelo_lab.training.train import training_of
from tests.generator import toy


def tiny(**options):
    return Inpainter(**{"channels": 1, "size_px": 8, "width": 8, "dilations": [1, 2], **options})


def gradients(module, given):
    module.network.requires_grad_(True)
    module.loss(given).backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_each_player_gets_its_own_loss():
    """The critic's gradients are those of its hinge loss alone, the network's those of reconstruction plus verdict."""
    draw = torch.Generator().manual_seed(0)
    given = {"images": torch.rand(4, 1, 8, 8, generator=draw), "hole": torch.rand(4, 8, 8, generator=draw) < 0.5}
    module = training_of(tiny(), InpaintingRecipe(adversarial=0.7, critic_width=4, hole_weight=3.0), None)
    module.critic.eval()  # no power iterations: the same critic in every call
    actual = gradients(module, given)
    x, hole = given["images"] * 2 - 1, given["hole"][:, None].float()
    coarse, fine = module.network.stages(x, hole)
    weight = 1 + 2 * hole
    filled = x * (1 - hole) + fine * hole
    own = (
        (weight * (coarse - x).abs()).mean()
        + (weight * (fine - x).abs()).mean()
        - 0.7 * module.critic(filled, hole).mean()
    )
    critic = (1 - module.critic(x, hole)).relu().mean() + (1 + module.critic(filled.detach(), hole)).relu().mean()
    for part, loss in (("network", own), ("critic", critic)):
        wanted = {f"{part}.{name}": p for name, p in getattr(module, part).named_parameters()}
        for (name, _), expected in zip(
            wanted.items(), torch.autograd.grad(loss, list(wanted.values()), retain_graph=True), strict=True
        ):
            torch.testing.assert_close(actual[name], expected, atol=1e-6, rtol=1e-4, msg=name)
    assert all(p.requires_grad for p in module.critic.parameters())


def test_it_learns_to_fill_flat_images(tmp_path):
    module = toy.run_training(tiny(), tmp_path, epochs=20, adversarial=0.01, critic_width=4, ema=0.9)
    assert module.report["l1_in_holes"] < 0.06  # the two values lie 0.6 apart
    generator = module.generator
    keep = torch.ones(2, 8, 8)
    keep[:, 2:6, 2:6] = 0
    images = toy.two_values(2).batch([0, 1]).image
    filled = generator.fill_rows(images, torch.arange(2), keep)
    assert (filled - images).abs().mean() < 0.1
    assert Image.open(max((tmp_path / "samples").iterdir())).size[0] >= 16
    assert not any(name.startswith("critic") for name in generator.network.state_dict())  # it is not shipped


def test_half_precision_trains(tmp_path):
    assert toy.run_training(tiny(), tmp_path, epochs=1, precision="bf16-mixed").report["l1_in_holes"] < 1
