"""Small networks of the kinds that real ones are made of: activations as modules, functions, used again, in place;
gates, norms, attention."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.explainer.gradients import TinyNetwork

ACTIVATIONS = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
}
FUNCTIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "clamp": lambda x: x.clamp(min=0),
}


class Swish(torch.autograd.Function):
    """SiLU with a backward of its own, as EfficientNets save memory."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, above):
        (x,) = ctx.saved_tensors
        return above * (torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))))


SWISHES = {
    "written out": lambda x: x * torch.sigmoid(x),
    "the other way": lambda x: x.sigmoid() * x,
    "in place": lambda x: x.sigmoid().mul_(x),
    "own": Swish.apply,
}


class Body(nn.Module):
    """Convolution, activation, convolution, activation, mean, linear: 3x8x8 -> 3; what the activation is, and how it is
    called, is given."""

    def __init__(self, first, second=None, gate=None):
        super().__init__()
        self.conv1, self.conv2, self.head = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Linear(24, 3),
        )
        self.first, self.second, self.gate = first, second or first, gate or (lambda x: x)

    def forward(self, x):
        x = self.gate(self.first(self.conv1(x) * 4))  # far enough from 0 that ReLU6 saturates
        return self.head(F.adaptive_avg_pool2d(self.second(self.conv2(x)), 2).flatten(1))


class Gate(nn.Module):
    """Squeeze and excitation, the scale by module or by function."""

    def __init__(self, scale, kind="multiply"):
        super().__init__()
        self.down, self.up, self.scale, self.kind = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1), scale, kind

    def forward(self, x):
        gate = self.scale(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))
        return x * gate if self.kind == "multiply" else x / (1 + gate)


class LastNorm(nn.Module):
    """LayerNorm over channels."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """A transformer layer over 16 cells."""

    def __init__(self):
        super().__init__()
        self.patch, self.attention, self.head = (
            nn.Conv2d(3, 8, 2, stride=2),
            nn.MultiheadAttention(8, 2, batch_first=True),
            nn.Linear(8, 3),
        )
        self.act = nn.GELU()

    def forward(self, x):
        tokens = self.act(self.patch(x).flatten(2).transpose(1, 2))
        return self.head((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1))


class ChannelsLast(nn.Module):
    """Maps whose channels come last, as in Swin transformers."""

    def __init__(self):
        super().__init__()
        self.patch, self.mix, self.head = nn.Conv2d(3, 8, 2, stride=2), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.relu(self.mix(self.patch(x).permute(0, 2, 3, 1))).mean((1, 2)))


def classifier(module, seed=0):
    """The network with weights of a seed, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in module.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
    return TinyNetwork(made=module)
