"""Types of the top-level keys of conf/run.yaml and conf/train.yaml, so that Hydra refuses `batch_size=abc` and
`batchsize=3`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
# so many of n steps as a share of them, `most` at most: ${share_of_steps:200,0.5,${.n_steps}}
OmegaConf.register_new_resolver(
    "share_of_steps", lambda steps, most, n: min(float(most), steps / n) if n else float(most), replace=True
)
# which output of a network is an attribute, where its file names none:
# ${position:${dataset.label},[Male,Smiling,Young]}
OmegaConf.register_new_resolver("position", lambda name, names: list(names).index(name), replace=True)

SCALES = ("smoke", "demo", "quick", "paper")


def scaled(*values: Any, _root_: Any) -> Any:
    """The value at the chosen scale, of those at smoke, demo, quick and paper: ${scaled:2,8,10,50}."""
    name = _root_.scale.name
    if name not in SCALES:
        raise ValueError(f"scale.name must be one of {', '.join(SCALES)}, whose values components take, got {name!r}")
    return values[SCALES.index(name)]


OmegaConf.register_new_resolver("scaled", scaled, replace=True)


# what a preset leaves to the user although the component has a default, which `???` would not replace: ${required:}
OmegaConf.register_new_resolver("required", lambda: "???", replace=True)


# what the labels of a data set are about, "" where it does not say: ${label_of:${dataset}}
OmegaConf.register_new_resolver("label_of", lambda dataset: (dataset or {}).get("label") or "", replace=True)


def short_at_smoke(recipe: str, _root_: Any) -> str:
    """A component's own recipe; at scale=smoke, which takes seconds, that recipe shortened, whose networks other scales
    do not take for trained."""
    return f"{recipe}:short" if (_root_.get("scale") or {}).get("name") == "smoke" else recipe


def outputs_of(dataset: Any) -> str:
    """ "sigmoid" where a data set has attributes that a network can learn, "softmax" where it has classes alone."""
    from pomelo_lab.config.signature import defaults, locate

    try:
        target = locate(dataset["_target_"])
        given = OmegaConf.to_container(dataset, throw_on_missing=False)
        return "sigmoid" if "attributes" in target.features({**defaults(target), **given}) else "softmax"
    except (ImportError, KeyError, TypeError, AttributeError):
        return "sigmoid"  # the check says what is wrong with the data set


OmegaConf.register_new_resolver("outputs_of", outputs_of, replace=True)
OmegaConf.register_new_resolver("short_at_smoke", short_at_smoke, replace=True)


@dataclass
class CommonSchema:
    """Keys that every command has; the yaml holds the values and says what they mean."""

    dataset: Any = MISSING
    classifier: Any = MISSING
    generator: Any = None
    paths: Any = MISSING
    seed: int = MISSING
    device: str = MISSING
    force: bool = MISSING


@dataclass
class RunSchema(CommonSchema):
    """Keys of `pomelo_lab.run`."""

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
    batch_size: int | None = None
    keep_gb: float = MISSING
    sheet: Any = 8
    dry_run: bool = MISSING
    paper_table: str | None = None


def register() -> None:
    """Make the schemas known to Hydra under the names that the yaml files list first."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="run_schema", node=RunSchema)
