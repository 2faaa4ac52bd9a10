"""What runtimes gain on torchvision's and the shipped networks: python scripts/runtimes.py writes docs/runtime.md."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

from pomelo_lab.compat import ensure

ensure()  # before anything imports torchvision

import torch
from torch import Tensor

from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.config.build import build
from pomelo_lab.generator.base import Generator
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.runtime.base import OneTensor
from pomelo_lab.runtime.choice import GAIN, RUNTIMES, WAIT_S, Choice
from pomelo_lab.weights import ZOO

SIDES = {  # of torchvision's networks: sides of their images
    "resnet18": (64, 224),
    "resnet50": (64, 224),
    "densenet121": (64, 224),
    "vgg16": (64,),
    "inception_v3": (96,),
    "mobilenet_v2": (64,),
    "efficientnet_b0": (64,),
    "convnext_tiny": (64,),
    "swin_t": (64,),
    "vit_b_16": (224,),
}
SHIPPED = ("portraits_residual", "portraits_oracle", "portraits_ddpm", "portraits_inpainter")
ROWS = 16
TEXT = """Most of a job's time is spent in the forward passes of frozen networks. A *runtime* computes such a network \
in another way: the same numbers up to rounding, faster.

| `runtime=` | what computes the network |
| --- | --- |
| `eager` | torch, operator by operator, in channels-last layout |
| `frozen` | TorchScript: traced, weights constant, normalisations folded into convolutions |
| `onnxruntime` | onnxruntime; needs `pip install 'pomelo-lab[onnx]'` |
| `compiled` | `torch.compile`, which takes a minute or two on a CPU |
| `graph` | CUDA graphs: a GPU of NVIDIA starts the kernels of a network together |
| `auto`, the default | the fastest of `onnxruntime` and `frozen` on a CPU, `graph` on a GPU, else `eager` |

- `auto` prepares nothing before a network has computed for {wait:g} s, about what a preparation takes. A short job is \
therefore eager, and a preparation at most doubles the time of a job that ends right after it.
- A runtime is used only where its answers agree with the network's, to 2e-5 of the largest answer: on the rows that \
the job asks about, on half of them, on their negatives, and on the first rows of the next two calls. A runtime that \
`auto` chooses is also {gain:g} times as fast or more.
- Gradients, features and layers always come from the network itself, and so do answers while a hook listens to a layer.
- `status.json` names what computed each network under `stages`, with its gain and largest difference, or why it is \
eager. Results do not carry the runtime in their fingerprint: they agree to about 1e-5.
- `deterministic=true` stands for `runtime=eager` and a fixed `batch_size`. Every number is then the same to the last \
bit on one machine, also after an interruption. A job that another runtime has finished stays finished; \
`force=true` computes it again.
- Exported graphs are kept in the cache folder (`POMELO_CACHE`, by default `~/.cache/pomelo_lab`), by the contents of \
the weights and the versions of the libraries. A damaged file is made again."""


def networks() -> Iterator[tuple[str, TrainableNetwork, tuple[Tensor, ...]]]:
    """Name, network and one batch of its inputs."""
    draws = torch.Generator().manual_seed(0)
    for architecture, sides in SIDES.items():
        for side in sides:
            network = TorchvisionClassifier(architecture=architecture, num_classes=10)
            yield f"{architecture}, {side} px", network, (torch.rand(ROWS, 3, side, side, generator=draws),)
    for name in SHIPPED:
        card = json.loads((ZOO / f"{name}.json").read_text())
        sizes = {"channels": 3, "size_px": 64, "num_classes": 26 if "oracle" in name else 5}
        network = build({**card["component"], "weights": f"zoo:{name}"}, **sizes)
        yield name, network, (torch.rand(ROWS, 3, 64, 64, generator=draws),)


def captured(network: TrainableNetwork, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs that the torch network gets when its component is asked about images."""
    seen: list[tuple[Tensor, ...]] = []
    handle = network.network.register_forward_pre_hook(lambda _, parts: seen.append(parts))
    network.one_forward(*inputs) if isinstance(network, Generator) else network.logit(*inputs)
    handle.remove()
    return seen[0]


def rows() -> Iterator[str]:
    """The lines of the table."""
    for name, network, images in networks():
        with torch.no_grad():
            inputs = captured(network, images)
            cells = []
            for runtime in ("frozen", "onnxruntime"):
                try:
                    answer = OneTensor(network.network)(*inputs)
                    tried = Choice(name, runtime).try_one(RUNTIMES[runtime], network.network, inputs, answer)
                    agreed = tried.answer is not None
                    cells.append(
                        f"{tried.gain:.2f}, {tried.difference:.0e}" if agreed else tried.why.partition(": ")[2]
                    )
                except Exception as error:  # noqa: BLE001 (the page says why)
                    cells.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:60]}")
        print(name, cells, flush=True)
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    paragraphs = TEXT.format(wait=WAIT_S, gain=GAIN).splitlines()
    lines = ["# Runtimes", "", *(fold(text) for text in paragraphs), "", "## What they gain", ""]
    lines.append(
        fold(
            f"`python scripts/runtimes.py` wrote this table with torch {torch.__version__.partition('+')[0]}, one "
            f"thread, {ROWS} images at once: how many times as fast as eager, and the largest difference of an answer "
            f"as a share of the largest answer. Torchvision's networks have random weights."
        )
    )
    lines += ["", "| network | `frozen` | `onnxruntime` |", "| --- | --- | --- |", *rows()]
    (ROOT / "docs" / "runtime.md").write_text("\n".join([*lines, ""]))
    return 0


def fold(text: str) -> str:
    """A paragraph or an item of a list, in lines of at most 120 columns. Lines of a table stay whole."""
    if text.startswith("|"):
        return text
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
