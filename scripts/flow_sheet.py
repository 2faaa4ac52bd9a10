"""Samples and perturbations of flows: python scripts/flow_sheet.py docs/flows.png generator[,key=value...] ...
(T=temperature)."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

import torch
import yaml

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.build import build
from pomelo_lab.config.entry import file_content
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.sampler.flow import FlowSampler
from pomelo_lab.sampler.generated import GeneratedSampler
from pomelo_lab.training.loop import save_sheet
from pomelo_lab.training.train import ensure_weights
from pomelo_lab.types import Perturbations

N = 16  # pictures in a row
PORTRAITS = {"_target_": "pomelo_lab.dataset.portraits.Portraits"}


def main(path: str, *flows: str) -> None:
    """A row of portraits, then two rows for each flow: new images, and a perturbation of each portrait."""
    dataset = Portraits(split="test")
    batch = dataset.unmasked(dataset.order()[:N].tolist())
    rows = [batch.image]
    for text in flows:
        name, *changes = re.split(r",(?![^\[]*\])", text)  # lists keep their commas
        keys = {key: yaml.safe_load(value) for key, value in (change.split("=", 1) for change in changes)}
        temperature = keys.pop("T", 1.0)
        node = {**file_content(f"generator/{name}"), **keys}
        generator = build(ensure_weights(node, PORTRAITS, "outputs"))
        for sampler in (GeneratedSampler, FlowSampler):
            made = sampler(generator=generator, temperature=temperature).perturb(batch, None, 2, RandomStreams(0))
            rows.append(Perturbations.dequantize(made.image[:, 1]))
    save_sheet(torch.cat(rows), Path(path), N)


if __name__ == "__main__":
    main(*sys.argv[1:])
