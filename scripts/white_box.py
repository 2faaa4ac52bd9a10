"""What every white-box explainer does on torchvision's networks: python scripts/white_box.py writes
docs/white_box.md."""

from __future__ import annotations

import math
import re
import sys
import textwrap
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.classifier.torchvision import TorchvisionClassifier
from pomelo_lab.config.signature import defaults, locate, parameters
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.explainer.case import Case
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments

NETWORKS = {  # architecture: side of its images
    "vgg16": 64,
    "resnet50": 64,
    "densenet121": 64,
    "inception_v3": 96,
    "mobilenet_v2": 64,
    "efficientnet_b0": 64,
    "convnext_tiny": 64,
    "swin_t": 64,
    "vit_b_16": 224,
}
FADED, STEPS = 0.01, 20
LIMIT = 0.02  # of |sum - difference| / |difference|
SUM, EXPECTATION, GRADIENT, LAYER, QUERIES = (
    "the sum",
    "the sum in expectation",
    "a gradient",
    "a layer",
    "answers with gradients",
)
EXPLAINERS = {  # heading: (class, what the map rests on)
    "DeepLIFT": ("deep_lift.DeepLiftExplainer", SUM),
    "integrated gradients": ("integrated_gradients.IntegratedGradientsExplainer", SUM),
    "expected gradients": ("gradient_shap.GradientShapExplainer", EXPECTATION),
    "guided backprop": ("guided_backprop.GuidedBackpropExplainer", GRADIENT),
    "saliency": ("saliency.SaliencyExplainer", GRADIENT),
    "SmoothGrad": ("smooth_grad.SmoothGradExplainer", GRADIENT),
    "Grad-CAM": ("grad_cam.GradCamExplainer", GRADIENT),
    "IBA": ("iba.IBAExplainer", LAYER),
    "InputIBA": ("input_iba.InputIBAExplainer", LAYER),
    "Fisher/SDE": ("fisher_sde.FisherSDEExplainer", QUERIES),
    "MP": ("meaningful_perturbation.MeaningfulPerturbationExplainer", QUERIES),
    "MP2": ("mp2.MP2Explainer", QUERIES),
    "FIDO": ("fido.FidoExplainer", QUERIES),
    "DiME": ("dime.DiMEExplainer", QUERIES),
    "ACE": ("ace.ACEExplainer", QUERIES),
    "flow": ("flow_counterfactual.FlowCounterfactualExplainer", QUERIES),
}


def faded(images: Tensor, share: float) -> Tensor:
    """Images mixed with gray."""
    return images + share * (0.5 - images)


@dataclass(kw_only=True)
class Faded(BaseImageFiller):
    """Removed pixels are faded to gray."""

    share: float = 1.0

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return faded(image, self.share)


@dataclass(frozen=True)
class Outcome:
    """One explainer on one network: why it is refused, or the share by which its sum misses the difference of the
    answers (NaN: no promise)."""

    refused: str = ""
    gap: float = math.nan
    seconds: float = 0.0
    layer: str = ""


def outcome(architecture: str, heading: str) -> Outcome:
    """What an explainer does with an untrained network (seed 0) and a portrait; `seconds` are processor time of the
    check alone."""
    path, rests_on = EXPLAINERS[heading]
    kind = locate(f"pomelo_lab.explainer.{path}")
    classifier, data = network(architecture)
    batch, box = data.batch([0]), view(classifier, "white_box", 128)
    start = time.process_time()
    try:
        kind.check_network(defaults(kind), box, batch.image)
    except ValueError as error:
        return Outcome(refused=str(error), seconds=time.process_time() - start)
    seconds = time.process_time() - start
    if rests_on not in (SUM, EXPECTATION):  # the check says all that there is to say
        return Outcome(seconds=seconds, layer=classifier.middle if rests_on == LAYER else "")
    share = 1.0 if heading == "DeepLIFT" else FADED
    steps = {name: STEPS for name in ("n_steps", "n_draws") if name in parameters(kind)}
    with torch.no_grad():
        target = (classifier.logit(batch.image) - classifier.logit(faded(batch.image, share))).abs().argmax(1)
    case = Case(batch, target, box, RandomStreams(0))
    extra = kind(sampler=Faded(share=share), **steps).explain(case).extra
    return Outcome(
        gap=float(((extra["total"] - extra["difference"]) / extra["difference"]).abs().mean()), seconds=seconds
    )


@cache
def network(architecture: str) -> tuple[TorchvisionClassifier, Portraits]:
    """An untrained network (seed 0) and portraits of its size; batch norm has the statistics of 16 of them, since
    without any the answers to all images are the same up to rounding."""
    classifier, data = (
        TorchvisionClassifier(architecture=architecture, num_classes=10),
        Portraits(size_px=NETWORKS[architecture]),
    )
    norms = [part for part in classifier.network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None  # the mean over batches
    with torch.no_grad():
        classifier.logit(data.batch(range(100, 116)).image)
    for norm in norms:
        norm.eval()
    return classifier, data


def cell(made: Outcome, rests_on: str) -> str:
    """An outcome as the text of a table cell."""
    if made.refused:
        return "refused"
    if rests_on in (SUM, EXPECTATION):
        return f"{made.gap:.1e}" if made.gap < 1e-4 else f"{100 * made.gap:.2f} %"
    return made.layer and f"`{made.layer}`" or "yes"


def page(made: dict[str, dict[str, Outcome]]) -> str:
    """The Markdown page."""
    version, percent = torch.__version__.partition("+")[0], f"{100 * FADED:g} %"
    paragraphs = [
        f"`python scripts/white_box.py` wrote this page with torch {version}. A white-box explainer either does on a "
        f"network what its paper says, or it refuses the network before work starts, naming the module. Here networks "
        f"are untrained (seed 0, batch norm with the statistics of 16 portraits) and one portrait is explained, for "
        f"the class whose logit differs most from the baseline's. DeepLIFT's baseline is gray. Integrated and expected "
        f"gradients ({STEPS} points at first) start from the portrait faded by {percent} to gray: without training the "
        f"answers are too rough along the whole line to gray to be integrated.",
        "",
        f"- *the sum*: the map promises to sum up to the difference of the answers for the image and the baseline; the "
        f"cell holds the miss as a share of that difference, which must be below {100 * LIMIT:g} %.",
        "- *a layer*: the cell holds the layer whose map is used where none is named.",
        "- *yes*: the method has a rule for everything in the network.",
    ]
    lines = [
        "# White-box explainers on torchvision's networks",
        "",
        *(fold(text) for text in paragraphs),
        "",
        "| | rests on | " + " | ".join(f"{name}, {side} px" for name, side in NETWORKS.items()) + " |",
        "| --- | --- |" + " --- |" * len(NETWORKS),
    ]
    for heading, (_, rests_on) in EXPLAINERS.items():
        cells = [cell(row[heading], rests_on) for row in made.values()]
        lines.append(f"| {heading} | {rests_on} | " + " | ".join(cells) + " |")
    lines += ["", "## Why networks are refused", ""]
    for architecture, row in made.items():
        for heading, result in row.items():
            if result.refused:
                message = re.sub(r"; known: .*", "", result.refused)
                text = f"- {architecture}, {heading}, after {result.seconds:.1f} s of processor time: `{message}`"
                lines.append(fold(text))
    return "\n".join([*lines, "", RULES])


def fold(text: str) -> str:
    """A paragraph or an item of a list, in lines of at most 120 columns."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


RULES = """## The rules

Networks run operator by operator, so that an activation is seen whether a module, a function, or a module used for the
second time calls it, in place or not.

- **DeepLIFT** (Shrikumar et al. 2017): linear operators pass multipliers on; every elementwise function has the rescale
  rule; max pooling and the product of two units (gates) have the rules of SHAP and captum, which keep the sum.
  LayerNorm, softmax and attention are refused: the paper has no rule for them.
- **Guided backpropagation** (Springenberg et al. 2015): a rectifier passes the positive part of what comes from above
  where its input is positive, times its derivative. ReLU6 passes nothing above 6. SiLU, GELU, Hardswish, ELU and the
  like are rectifiers; gates (sigmoid, hard sigmoid, tanh), norms and attention have their ordinary gradient. A network
  without a rectifier is refused.
- **Integrated gradients** (Sundararajan et al. 2017): an image whose map misses the difference by more than
  `explainer.gap` gets twice the steps, up to `explainer.most_steps`. Expected gradients sum up on average over draws
  only (`explainer.n_draws`).
- **Grad-CAM, IBA, InputIBA** need a layer that gives one map per image, rows and columns last.
- **Fisher/SDE, MP, MP2, FIDO, DiME, ACE, flow counterfactuals** ask for the gradient of the answer alone.

`metrics=completeness` scores the sum on your own network and images.
"""


def main() -> int:
    torch.manual_seed(0)
    made: dict[str, dict[str, Outcome]] = {}
    for architecture in NETWORKS:
        made[architecture] = {}
        for heading in EXPLAINERS:
            made[architecture][heading] = outcome(architecture, heading)
            print(architecture, heading, made[architecture][heading], flush=True)
    (ROOT / "docs" / "white_box.md").write_text(page(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
