"""What runtimes gain on torchvision's and the shipped networks: python scripts/runtimes.py writes docs/runtime.md."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

from pomelo_lab.compat import ensure

ensure()  # before anything imports torchvision

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.config.build import build
from pomelo_lab.generator.base import Generator
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.runtime.base import OneTensor
from pomelo_lab.runtime.choice import EXPECTED_GAIN, GAIN, PREPARE_S, RUNTIMES, Choice
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
| `incremental` | only what a change of part of an image affects, for explainers that slide a patch; see \
[Scaling](scaling.md#patches-only-what-changes-is-computed) |
| `auto`, the default | the fastest of `onnxruntime` and `frozen` on a CPU, `graph` on a GPU, else `eager`; for images \
with a changed part also `incremental` |

- `auto` weighs a preparation against what a job has planned (`dry_run=true` prints the plan). It prepares as soon as \
the seconds per row, times the rows that are still planned, times the share that a gain of {expected} saves, exceed \
the seconds of a preparation: {prepare:g}, or the median of those in this process where that is more. From the second \
job of a grid on, the rows of later jobs with the same network count too. The plan assumes an empty store.
- Where nothing is planned, such as in Python, or more is asked than was planned, the network first computes for as \
long as a preparation takes. A preparation then at most doubles the time.
- A runtime is used only where its answers agree with the network's, to 2e-5 of the largest answer: on the rows that \
the job asks about (the first 16 of a call on a CPU), on half of them, on their negatives, and on the first rows of \
the next two calls. A runtime that `auto` chooses is also {gain:g} times as fast or more.
- Gradients, features and layers always come from the network itself, and so do answers while a hook listens to a layer.
- `status.json` names what computed each network under `stages`, with its gain and largest difference, or why it is \
eager. Results do not carry the runtime in their fingerprint: they agree to about 1e-5.
- `deterministic=true` stands for `runtime=eager` and a fixed `batch_size`. Every number is then the same to the last \
bit on one machine, also after an interruption. A job that another runtime has finished stays finished; \
`force=true` computes it again.
- Exported graphs are kept in the cache folder (`POMELO_CACHE`, by default `~/.cache/pomelo_lab`), by the contents of \
the weights and the versions of the libraries. A damaged file is made again."""


class Functional(nn.Module):
    """Functional calls, reshapes and shapes read at run time, as timm's networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 64, 4, 4), nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        grid = F.gelu(self.stem(images))
        tokens = F.layer_norm(grid.flatten(2).transpose(1, 2), (64,))
        return self.head((tokens + F.silu(self.mix(tokens))).mean(1))


class Branches(nn.Module):
    """Control flow that depends on pixels, which no trace follows."""

    def __init__(self) -> None:
        super().__init__()
        self.light, self.dark = (nn.Conv2d(3, 10, 5, 5) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        return (self.light if images.mean() > 0.4 else self.dark)(images).mean((2, 3))


def networks() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Name, network in evaluation mode, and one batch of its inputs."""
    draws = torch.Generator().manual_seed(0)
    for architecture, sides in SIDES.items():
        for side in sides:
            component = TorchvisionClassifier(architecture=architecture, num_classes=10)
            images = (torch.rand(ROWS, 3, side, side, generator=draws),)
            yield f"{architecture}, {side} px", component.network, captured(component, images)
    for name in SHIPPED:
        card = json.loads((ZOO / f"{name}.json").read_text())
        sizes = {"channels": 3, "size_px": 64, "num_classes": 26 if "oracle" in name else 5}
        component = build({**card["component"], "weights": f"zoo:{name}"}, **sizes)
        yield name, component.network, captured(component, (torch.rand(ROWS, 3, 64, 64, generator=draws),))
    for name, network in (("functional calls, 64 px", Functional()), ("control flow, 64 px", Branches())):
        yield name, network.eval().requires_grad_(False), (torch.rand(ROWS, 3, 64, 64, generator=draws),)


def captured(component: TrainableNetwork, images: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs that the torch network gets when its component is asked about images."""
    seen: list[tuple[Tensor, ...]] = []
    handle = component.network.register_forward_pre_hook(lambda _, parts: seen.append(parts))
    component.one_forward(*images) if isinstance(component, Generator) else component.logit(*images)
    handle.remove()
    return seen[0]


def least_seconds(work: Callable[[], Any]) -> float:
    """The least processor time of five calls."""
    taken = []
    for _ in range(5):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def product_speed(n: int = 1536) -> float:
    """Floating point operations a second in a product of two matrices, which no network outdoes by much."""
    one, other = torch.rand(2, n, n, generator=torch.Generator().manual_seed(0))
    return 2 * n**3 / least_seconds(lambda: one @ other)


def work_speed(network: nn.Module, inputs: tuple[Tensor, ...]) -> float:
    """Floating point operations a second in the products and convolutions of a network's forward pass."""
    with FlopCounterMode(display=False) as counter:
        OneTensor(network)(*inputs)
    return counter.get_total_flops() / least_seconds(lambda: OneTensor(network)(*inputs))


def rows(limit: float) -> Iterator[str]:
    """The lines of the table. Args: limit: operations a second of a product of matrices."""
    for name, network, inputs in networks():
        with torch.no_grad():
            choice, cells = Choice(name), [f"{work_speed(network, inputs) / limit:.0%}"]
            answer = OneTensor(network)(*inputs)
            for runtime in ("frozen", "onnxruntime"):
                try:
                    tried = choice.try_one(RUNTIMES[runtime], network, inputs, answer)
                except Exception as error:  # noqa: BLE001 (the page says why)
                    cells.append(reason(str(error)))
                else:
                    found = f"{tried.gain:.2f}, {tried.difference:.0e}"
                    cells.append(found if tried.answer is not None else tried.why.partition(": ")[2])
            chosen = choice.choose(network, inputs, answer)
        cells.insert(1, chosen.runtime)
        print(name, cells, flush=True)
        yield f"| {name} | {' | '.join(cells)} |"


def reason(error: str) -> str:
    """The line of an error that says why a runtime does not fit: the last one where the error has a traceback."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    return lines[-1 if "Traceback" in error else 0][:80]


def main() -> int:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    limit = product_speed()
    paragraphs = TEXT.format(prepare=PREPARE_S, expected=EXPECTED_GAIN, gain=GAIN).splitlines()
    lines = ["# Runtimes", "", *(fold(text) for text in paragraphs), "", "## What they gain", ""]
    lines.append(
        fold(
            f"`python scripts/runtimes.py` wrote this table with torch {torch.__version__.partition('+')[0]}, one "
            f"thread, {ROWS} images at once. A cell of a runtime says how many times as fast as eager it is, and the "
            "largest difference of an answer as a share of the largest answer. Torchvision's networks have random "
            f"weights. The first column is the speed of eager: its floating point operations a second, as a share of "
            f"those of a product of two matrices on the same processor ({limit / 1e9:.0f} billion a second). A network "
            "at 100 % is as fast as the processor multiplies, and no runtime can gain much on it."
        )
    )
    lines += [
        "",
        "| network | speed of eager | `auto` takes | `frozen` | `onnxruntime` |",
        "| --- | --: | --- | --- | --- |",
    ]
    lines += rows(limit)
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
