"""Made-up weights of published networks."""

import torch
from torch import nn

from pomelo_lab.compat import ensure


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with weights that keep signals alive over many layers and running statistics that are not a
    new network's."""
    rng = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = torch.randn(module.weight.shape, generator=rng) * (2 / module.weight[0].numel()) ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=rng))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=rng))
    return network.eval()


def backbone(net: str) -> nn.Module:
    """The feature layers of a torchvision network that LPIPS looks at, as its files name them."""
    ensure()
    from torchvision import models

    whole = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}[net](weights=None)
    return lively(nn.ModuleDict({"features": whole.features}))


class MeanColour(nn.Module):
    """What a network is given, pooled to one value per channel."""

    def forward(self, x):
        return x.mean((2, 3))
