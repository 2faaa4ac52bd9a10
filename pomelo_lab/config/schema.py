"""Types of the top-level keys of conf/run.yaml and conf/train.yaml, so that Hydra refuses `batch_size=abc` and
`batchsize=3`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import MISSING, OmegaConf

# a length in pixels of images of 64, where the papers' portraits have it, in proportion to images of another side:
# ${of_64:5.0,${dataset.size_px}}
OmegaConf.register_new_resolver("of_64", lambda px, size_px: float(px) * float(size_px) / 64, replace=True)
# the same in whole pixels, 1 at least: the radius of a kernel
OmegaConf.register_new_resolver(
    "whole_of_64", lambda px, size_px: max(1, round(float(px) * float(size_px) / 64)), replace=True
)
# lengths of papers whose images have 224 pixels, in proportion: ${of_224:10.0,${dataset.size_px}}; whole pixels, 1 at
# least
OmegaConf.register_new_resolver("of_224", lambda px, size_px: float(px) * float(size_px) / 224, replace=True)
OmegaConf.register_new_resolver(
    "whole_of_224", lambda px, size_px: max(1, round(float(px) * float(size_px) / 224)), replace=True
)
# the side of a filter with a middle, as printed for images of 128 pixels and more, in proportion to smaller ones:
# ${odd_of_128:15,${dataset.size_px}}
OmegaConf.register_new_resolver(
    "odd_of_128", lambda px, size_px: 2 * round((px * min(size_px, 128) / 128 - 1) / 2) + 1, replace=True
)
# a number of steps as a share of n steps, at most `most`: ${share_of_steps:200,0.5,${.n_steps}}
OmegaConf.register_new_resolver(
    "share_of_steps", lambda steps, most, n: min(float(most), steps / n) if n else float(most), replace=True
)
# the position of an attribute among the outputs of a network, when its weights file has no names:
# ${position:${dataset.label},[Male,Smiling,Young]}
OmegaConf.register_new_resolver("position", lambda name, names: list(names).index(name), replace=True)

SCALES = ("smoke", "demo", "quick", "paper")


def scaled(*values: Any, _root_: Any) -> Any:
    """Selects the value of the chosen scale from the values for smoke, demo, quick and paper: ${scaled:2,8,10,50}."""
    name = _root_.scale.name
    if name not in SCALES:
        raise ValueError(f"scale.name must be one of {', '.join(SCALES)}, whose values components take, got {name!r}")
    return values[SCALES.index(name)]


OmegaConf.register_new_resolver("scaled", scaled, replace=True)


# a value that the user must give, although the component has a default, which `???` would not replace: ${required:}
OmegaConf.register_new_resolver("required", lambda: "???", replace=True)


# the `label` of a data set, "" when it has no such argument: ${label_of:${dataset}}
OmegaConf.register_new_resolver("label_of", lambda dataset: (dataset or {}).get("label") or "", replace=True)


def short_at_smoke(recipe: str, _root_: Any) -> str:
    """The name of a recipe, with the suffix ":short" at scale=smoke, where everything takes seconds.

    Other scales do not use networks that were trained by a shortened recipe.
    """
    return f"{recipe}:short" if (_root_.get("scale") or {}).get("name") == "smoke" else recipe


def outputs_of(dataset: Any) -> str:
    """The outputs of a network on a data set: "sigmoid" if the data set has attributes, "softmax" if only classes."""
    from pomelo_lab.config.signature import defaults, locate

    try:
        target = locate(dataset["_target_"])
        given = OmegaConf.to_container(dataset, throw_on_missing=False)
        return "sigmoid" if "attributes" in target.features({**defaults(target), **given}) else "softmax"
    except (ImportError, KeyError, TypeError, AttributeError):
        return "sigmoid"  # the check of the config reports the problem of the data set


OmegaConf.register_new_resolver("outputs_of", outputs_of, replace=True)
OmegaConf.register_new_resolver("short_at_smoke", short_at_smoke, replace=True)


@dataclass
class CommonSchema:
    """The top-level keys of every command. The yaml files contain their values and explain them."""

    dataset: Any = MISSING
    classifier: Any = MISSING
    generator: Any = None
    paths: Any = MISSING
    seed: int = MISSING
    device: str = MISSING
    offline: bool = False
    force: bool = MISSING


RuntimeName = Literal["auto", "eager", "frozen", "onnxruntime", "compiled", "graph", "incremental"]


@dataclass
class RunSchema(CommonSchema):
    """The top-level keys of `pomelo_lab.run`."""

    segmenter: Any = MISSING
    sampler: Any = MISSING
    explainer: Any = MISSING
    metrics: Any = MISSING
    scale: Any = MISSING
    networks: Any = None
    tracking: Any = None
    experiment: Any = None
    devices: int = MISSING
    n_images: int = MISSING
    images: str = "all"
    target: Any = MISSING
    batch_size: Any = "auto"
    runtime: str = "auto"
    deterministic: bool = False
    keep_gb: float = MISSING
    sheet: Any = 8
    dry_run: bool = MISSING
    paper_table: str | None = None


def register() -> None:
    """Registers the schemas in Hydra, under the names that the yaml files have first in their defaults lists.

    Hydra also reads files as `config/files.py` says from then on, and finds the configs of plug-ins.
    """
    from hydra.core.config_store import ConfigStore

    from pomelo_lab.config.files import replace_reader
    from pomelo_lab.plugins import show_hydra

    replace_reader()
    show_hydra()
    ConfigStore.instance().store(name="run_schema", node=RunSchema)
