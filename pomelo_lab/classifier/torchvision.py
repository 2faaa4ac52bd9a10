"""Any classification architecture of torchvision, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.downloads import loading
from pomelo_lab.classifier.network import TrainableClassifier, standardized
from pomelo_lab.compat import ensure
from pomelo_lab.config.hints import Count, NotFingerprinted, OmitDefault
from pomelo_lab.config.signature import did_you_mean

VGG16_STAGES = (
    "classifier.6",
    "classifier.0",
    "features.28",
    "features.24",
    "features.21",
    "features.17",
    "features.12",
    "features.7",
)
MIDDLE = {  # default layers of bottlenecks
    "vgg16": "features.17",
    "densenet121": "features.denseblock2",
    "densenet264": "features.denseblock2",
    "inception_v3": "Mixed_5d",
    "mobilenet_v2": "features.6",
    "efficientnet_b0": "features.3",
    "convnext_tiny": "features.3",
}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# blocks of DenseNets that torchvision's class makes and its list lacks (Huang et al. 2017, table 1)
DENSENETS = {"densenet264": (6, 12, 64, 48)}
HALF = ("inception_v3", "googlenet")  # their files were trained on images in [-1,1]
OWN_WEIGHTS = re.compile(r"DEFAULT|[A-Z][A-Z0-9]*_[A-Z0-9_]+")  # names of torchvision's own weights
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
SIDES = {"inception_v3": 299}


@dataclass(kw_only=True)
class TorchvisionClassifier(TrainableClassifier):
    """A network of torchvision (resnet18, vgg16, densenet121, ...) with one output per class.

    Nothing is downloaded, unless `weights` is the name of torchvision's own, such as IMAGENET1K_V2, which the library
    then downloads once. These files fit with num_classes 1000. ReLUs do not work in place and those
    of ResNet blocks run once each, as attribution hooks (DeepLIFT, guided backpropagation) need; the numbers and the
    names in weights files are torchvision's.

    Source: torchvision.models. Departures: the last linear layer (or 1x1 convolution) is replaced unless there are 1000
        outputs; gray images [M,1,H,W] are repeated to three channels.
    Args:
        architecture: name in torchvision.models.list_models(module=torchvision.models), or densenet264 (growth rate
            32).
        normalization: imagenet = torchvision's channel means and deviations; half = mean and deviation 0.5, images in
            [-1,1]; none = images as they are, in [0,1]; auto = what torchvision's files expect: half for Inception-v3
            and GoogLeNet, else imagenet.
        input_px: side to which images are resized first, bilinearly; None = images keep their size (Inception-v3: 299).
        offline: forbid downloads.
        stem: imagenet = unchanged (POMELO runs it so on 64x64 images); small = 3x3 first convolution with stride 1 and
            no max pooling, for images of about 32 pixels (ResNets only).
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: one forward per image.
    Random: none besides the initial weights.
    """

    architecture: str = "resnet18"
    normalization: Literal["auto", "imagenet", "half", "none"] = "auto"
    stem: Literal["imagenet", "small"] = "imagenet"
    input_px: Annotated[Count | None, OmitDefault()] = None
    offline: Annotated[bool, NotFingerprinted()] = False

    ignored = ("AuxLogits", "aux1", "aux2")  # side heads of Inception and GoogLeNet, used in training only

    def __post_init__(self) -> None:
        if self.normalization == "auto":
            self.normalization = "half" if self.architecture in HALF else "imagenet"
        if self.input_px is None:
            self.input_px = SIDES.get(self.architecture)
        super().__post_init__()

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports an unknown architecture, and a stem that the architecture does not have."""
        yield from super().config_problems(given)
        name, known = given["architecture"], architectures()
        if name not in known:
            yield (
                f"architecture {name!r} is unknown to torchvision{did_you_mean(name, known)}; it has {', '.join(known)}"
            )
        elif given["stem"] == "small" and not is_resnet(name):
            yield f"stem=small is for ResNets only, got architecture={name}"

    def make_network(self) -> nn.Module:
        side_heads = {"aux_logits": False} if self.architecture in ("googlenet", "inception_v3") else {}
        extra = {"init_weights": True} if side_heads else {}
        network = build_network(self.architecture, **side_heads, **extra)
        if hasattr(network, "transform_input"):
            network.transform_input = False  # scaling is done here, and only here
        name, head = last_layer(network)
        if getattr(head, "out_features", getattr(head, "out_channels", None)) != self.n_logits:
            replace_module(network, name, resized_head(head, self.n_logits))
        if self.stem == "small":
            network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
            network.maxpool = nn.Identity()
        for module in network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False
        return network

    def load_weights(self) -> None:
        if OWN_WEIGHTS.fullmatch(str(self.weights)):
            what = f"classifier.weights={self.weights}"
            entry = own_weights(self.architecture, self.weights)
            if self.n_logits != 1000:
                raise ValueError(f"{what} has the 1000 classes of ImageNet: say classifier.num_classes=1000")
            with loading(what, self.offline):
                entry.get_state_dict(progress=False)
            self.weights = str(Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2]))
        super().load_weights()

    def rename_tensors(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Renames the layers of torchvision's DenseNet files (norm.1, conv.2) as torchvision does."""
        return {OLD_DENSENET.sub(r"\1\2.", name): tensor for name, tensor in state.items()}

    def normalized(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if self.input_px is not None and images.shape[-2:] != (self.input_px, self.input_px):
            images = F.interpolate(images, (self.input_px, self.input_px), mode="bilinear", align_corners=False)
        if self.normalization == "none":
            return images
        if self.normalization == "half":
            return standardized(images, 0.5, 0.5)
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device)[:, None, None]
            for v in (IMAGENET_MEAN, IMAGENET_STD)
        )
        return standardized(images, mean, std)

    @property
    def middle(self) -> str | None:
        """The name of the default layer for bottlenecks.

        VGG-16: conv4_1 before its ReLU (Schulz et al. 2020). ResNets: the second stage (IBA's code). Others (MIDDLE):
        the last block at an eighth of the image's side.
        """
        return MIDDLE.get(self.architecture, "layer2" if is_resnet(self.architecture) else None)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the parts that the sanity check randomises. VGG-16 has the eight layers of InputIBA's code."""
        return VGG16_STAGES if self.architecture == "vgg16" else super().stages

    @property
    def head(self) -> nn.Module:
        return last_layer(self.network)[1]


def architectures() -> list[str]:
    """Names of the classification networks that torchvision's code can build."""
    ensure()
    from torchvision import models

    return sorted({*models.list_models(module=models), *DENSENETS})


def own_weights(architecture: str, name: str) -> Any:
    """The entry of torchvision for the weights of an architecture that have a name.

    Raises: ValueError with the names of all of them.
    """
    ensure()
    from torchvision import models

    known = {} if architecture in DENSENETS else models.get_model_weights(architecture).__members__
    if name not in known:
        near, names = did_you_mean(name, known), ", ".join(known) or "none"
        raise ValueError(f"classifier.weights: torchvision has no {name} of {architecture}{near}; it has {names}")
    return known[name]


def build_network(name: str, **options: Any) -> nn.Module:
    """A torchvision network, one of `architectures`, with its initial weights."""
    ensure()
    from torchvision import models

    if name in DENSENETS:
        return models.DenseNet(growth_rate=32, block_config=DENSENETS[name], num_init_features=64, **options)
    return models.get_model(name, weights=None, **options)


def is_resnet(name: str) -> bool:
    """Whether an architecture has the stem of a ResNet."""
    return name.startswith(("resnet", "resnext", "wide_resnet"))


def last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """(name, module) of the last linear layer, or of the last convolution in a network without one (SqueezeNet)."""
    for kind in (nn.Linear, nn.Conv2d):
        layers = [(name, module) for name, module in network.named_modules() if isinstance(module, kind)]
        if layers:
            return layers[-1]
    raise ValueError(f"{type(network).__name__} has neither a linear layer nor a convolution")


def resized_head(head: nn.Module, n: int) -> nn.Module:
    """A new layer like `head` with n outputs."""
    bias = head.bias is not None
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, n, bias)
    return nn.Conv2d(head.in_channels, n, head.kernel_size, head.stride, head.padding, bias=bias)


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replaces the module of a network that has this name."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
