"""A network of timm, by its name or from a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from pomelo_lab.classifier.downloads import loading, missing_package
from pomelo_lab.classifier.foreign import ForeignClassifier
from pomelo_lab.compat import ensure
from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.config.hints import NotFingerprinted

FOLDER = "local-dir:"
# what Pillow calls another way of resizing, or what cannot be differentiated, is the nearest that torch has
NEAR = {"bilinear": "bilinear", "nearest": "nearest"}


@dataclass(kw_only=True)
class TimmClassifier(ForeignClassifier):
    """A network of timm (vit_tiny_patch16_224, convnext_atto, efficientnet_b0, ...).

    The mean, deviation, size and interpolation are those of its config.

    Source: Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models. Departures: whole
        images are resized to the input size, which timm crops out of slightly larger ones; modules do not work in
        place.
    Args:
        model: a name of timm.list_models(), with or without the tag of its weights; `local-dir:<folder>` with its
            config.json and weights; or `hf-hub:<name>`, whose config is downloaded.
        pretrained: download timm's weights. A folder has its own.
        arguments: further arguments of timm.create_model, such as {num_classes: 5}; None = none.
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: one forward per image.
    Random: none besides the initial weights.
    Raises: ValueError when timm is not installed, does not know the name, or may not download.
    """

    model: Annotated[str, NotFingerprinted()]
    pretrained: bool = False
    arguments: dict[str, Any] | None = None

    @property
    def architecture(self) -> str:
        return f"classifier.model={self.model}"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports that timm is not installed, and two sources of weights."""
        yield from super().config_problems(given)
        if text := missing_package("timm", "timm"):
            yield f"model {text}"
        if given["pretrained"] and given["weights"] is not None:
            yield f"pretrained=true and weights={given['weights']} are two sources of weights: name one"

    @classmethod
    def source(cls, given: Mapping[str, Any]) -> str:
        """The name, or the contents of a folder."""
        folder = Path(given["model"].removeprefix(FOLDER)).expanduser()
        return file_digest(folder) if given["model"].startswith(FOLDER) and folder.is_dir() else given["model"]

    def origin(self) -> Any:
        config = self.network.pretrained_cfg
        made = {**(config.get("model_args") or {}), **(self.arguments or {})}
        return {"timm": config.get("architecture"), "arguments": made, "modules": str(self.network)}

    def make_network(self) -> nn.Module:
        ensure()
        with loading(self.architecture, self.offline):
            import timm

            own = self.pretrained or (self.model.startswith(FOLDER) and self.weights is None)
            network = timm.create_model(self.model, pretrained=own, **(self.arguments or {}))
            config = timm.data.resolve_model_data_config(network)
        self.prepare(
            mean=list(config["mean"]),
            std=list(config["std"]),
            input_px=list(config["input_size"][1:]),
            interpolation=NEAR.get(config["interpolation"], "bicubic"),
            class_names=network.pretrained_cfg.get("label_names"),
        )
        return network
