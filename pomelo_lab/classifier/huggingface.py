"""An image classifier of Hugging Face's transformers, from a folder or the hub."""

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
from pomelo_lab.weights import read_state

PILLOW = {0: "nearest", 2: "bilinear"}  # numbers of Pillow's filters; the others are nearest to bicubic
# entries of a config that change no answer
NAMES = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype", "id2label", "label2id")


@dataclass(kw_only=True)
class HuggingFaceClassifier(ForeignClassifier):
    """A network of transformers' AutoModelForImageClassification (ViT, DeiT, Swin, ConvNeXt, ...).

    The mean, deviation, size and interpolation are those of its image processor, the names of the outputs those of its
    config (id2label).

    Source: Wolf et al. (2020), Transformers, https://github.com/huggingface/transformers. Departures: whole images are
        resized to the input size, without a crop; modules do not work in place.
    Args:
        model: a folder that `save_pretrained` wrote, or a name on the hub, which is downloaded.
        arguments: further arguments of from_pretrained, such as {revision: main}; None = none.
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: one forward per image.
    Random: none.
    Raises: ValueError when transformers is not installed, the model does not exist, or may not be downloaded, or when
        weights are missing, as those of the head are in a network that was trained for another task.
    """

    model: Annotated[str, NotFingerprinted()]
    arguments: dict[str, Any] | None = None

    @property
    def architecture(self) -> str:
        return f"classifier.model={self.model}"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports that transformers is not installed."""
        yield from super().config_problems(given)
        if text := missing_package("transformers", "huggingface"):
            yield f"model {text}"

    @classmethod
    def source(cls, given: Mapping[str, Any]) -> str:
        """The name, or the contents of a folder."""
        folder = Path(given["model"]).expanduser()
        return file_digest(folder) if folder.is_dir() else given["model"]

    def origin(self) -> Any:
        config = self.network.config
        kept = {name: value for name, value in config.to_diff_dict().items() if name not in NAMES}
        return {"transformers": type(self.network).__name__, "config": kept, "modules": str(self.network)}

    def make_network(self) -> nn.Module:
        ensure()
        state = None if self.weights is None else read_state(self.weights)
        with loading(self.architecture, self.offline):
            from transformers import AutoConfig, AutoModelForImageClassification

            arguments, told = self.arguments or {}, {"output_loading_info": True}
            if state is None:
                network, info = AutoModelForImageClassification.from_pretrained(self.model, **told, **arguments)
            else:  # transformers knows earlier names of tensors
                config = AutoConfig.from_pretrained(self.model, **arguments)
                kind = type(AutoModelForImageClassification.from_config(config))
                network, info = kind.from_pretrained(None, config=config, state_dict=state, **told)
            network = network.float()
            if any(getattr(self, name) is None for name in ("mean", "std", "input_px", "interpolation")):
                self.prepare(**preparation(self.model, arguments.get("revision")))
        if lacking := sorted(info["missing_keys"]):
            where = self.architecture if state is None else f"classifier.weights: {self.weights}"
            raise ValueError(
                f"{where} does not fit {type(network).__name__}; missing: {', '.join(lacking[:3])}"
                + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
            )
        names = [network.config.id2label[k] for k in range(network.config.num_labels)]
        if not all(name == f"LABEL_{k}" for k, name in enumerate(names)):  # which stand for no names
            self.prepare(class_names=names)
        return network

    def load_weights(self) -> None:
        """Nothing: `make_network` has loaded them."""


def preparation(model: str, revision: str | None = None) -> dict[str, Any]:
    """The mean, deviation, size and interpolation of a model's image processor, for images in [0,1]."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(model, **({"revision": revision} if revision else {}))
    factor = 255 * processor.rescale_factor if processor.do_rescale else 255.0
    offset = 1.0 if getattr(processor, "rescale_offset", False) else 0.0
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ([0.0] * 3, [1.0] * 3)
    size = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else processor.size
    size = dict(size or {})
    height = size.get("height") or size.get("shortest_edge")
    width = size.get("width") or size.get("shortest_edge")
    resizes = processor.do_resize and height and width
    return {
        "mean": [(m + offset) / factor for m in mean],
        "std": [s / factor for s in std],
        "input_px": [height, width] if resizes else None,
        "interpolation": PILLOW.get(int(processor.resample), "bicubic"),
    }
