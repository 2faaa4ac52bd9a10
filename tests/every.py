"""Every component in a tiny job with untrained networks: what contract tests over all of them run."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import drop_missing_weights
from pomelo_lab.engine.store import Store
from tests.running import config

SMALL = ("networks=tiny", "metrics=none", "n_images=3")
PORTRAITS = ("dataset=portraits", "dataset.size_px=32")
# known causes, or networks of their attributes
ON_PORTRAITS = ("ideal", "ideal_counterfactual", "ideal_mask", "dime", "gcd", "bb_lig")
DIRECTIONS = (
    "sampler=none",
    *(
        f"explainer.{key}"
        for key in ("random_flips=null", "n_pairs=4", "n_renders=16", "chunk=16", "n_invert=2", "n_render=2")
    ),
)
FILES = Path(tempfile.mkdtemp(prefix="stored_"))  # maps and counterfactuals of the digits that the tiny job explains
atexit.register(shutil.rmtree, FILES, ignore_errors=True)
N_DIGITS = 269  # of the test split
for name, shape in {"maps": (N_DIGITS, 16, 16), "counterfactuals": (N_DIGITS, 3, 16, 16)}.items():
    np.save(FILES / f"{name}.npy", np.random.default_rng(0).random(shape, dtype=np.float32))

SMALLER = {
    "sobol": ("explainer.n_cells=2", "explainer.n_designs=4"),
    "reference_dataset": ("dataset@sampler.source=digits",),
    "callable": ("sampler.function=tests.every:darker",),
    "gcd": DIRECTIONS,
    "bb_lig": DIRECTIONS,
    "stored": (f"explainer.maps={FILES}/maps.npy", f"explainer.counterfactuals={FILES}/counterfactuals.npy"),
    "ace": ("explainer.n_steps=4",),
}


NAMES = {0: "cat", 1: "dog", 2: "bird"}
SIZES: dict[str, dict[str, Any]] = {  # of small networks of transformers
    "ViT": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "patch_size": 2},
}


def chosen(group: str, name: str) -> tuple[str, ...]:
    """The overrides that choose a component, and what it cannot do without."""
    return (*(PORTRAITS if name in ON_PORTRAITS else ()), *SMALL, f"{group}={name}", *SMALLER.get(name, ()))


def job(outputs: Path, *overrides: str) -> Job:
    """A job whose networks are untrained, wherever its config names them."""
    settings = config(outputs, *overrides)
    return Job(drop_missing_weights(settings, settings["dataset"], str(outputs), []), Store(outputs))


def darker(images: Any, holes: Any) -> Any:
    """An in-painter of a user's."""
    return images / 2


def small_network(n_classes: int = 10) -> nn.Module:
    """A network of a user's, with a block whose maps have a quarter of the image's side."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True))
    block = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU())
    parts = {"stem": stem, "block": block, "pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    return nn.Sequential(OrderedDict({**parts, "head": nn.Linear(12, n_classes)}))


def make_folder(path: Path, kind: str, names: Mapping[int, str] = NAMES) -> Path:
    """A folder as transformers' save_pretrained writes it: a small random network and its image processor."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = {"image_size": 32, "id2label": dict(names), "label2id": {name: k for k, name in names.items()}}
        config = getattr(transformers, f"{kind}Config")(**{"patch_size": 8, **SIZES[kind], **size})
        network = getattr(transformers, f"{kind}ForImageClassification")(config)
        torch.nn.init.normal_(network.classifier.weight)
    network.save_pretrained(path)
    scaling = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}, **scaling).save_pretrained(path)
    return path


def brightness(images: Any) -> Any:
    """A classifier of a user's: ten classes of brightness."""
    levels = images.mean((1, 2, 3))[:, None] - images.new_tensor([k / 9 for k in range(10)])
    return levels.square().neg().mul(20).softmax(-1)
