"""One look for all figures: a colour and a name per method, full-input and segment-wise samplers told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from pomelo_lab.results.grid import GridCell


@dataclass(frozen=True)
class Style:
    """How a method is drawn. group: "proposed", "baseline", "limit", "control" or "reference"."""

    label: str
    colour: str
    group: str = "baseline"
    line: Any = "-"
    marker: str = "o"


DASHED, DOTTED = (0, (5, 2)), (0, (1, 1.5))
LOOKS = {
    "flow": Style("Flow", "#0072B2", "proposed", marker="D"),
    "flow_cool": Style("Flow, T 0.5", "#00385C", "proposed", marker="d"),
    "ddim": Style("Diffusion", "#56B4E9", "proposed", marker="D"),
    "ddim_fast": Style("Diffusion, few steps", "#88C9B0", "proposed", marker="D"),
    "inpaint_ddim": Style("In-painting", "#009E73", "proposed", marker="D"),
    "black": Style("Black-out", "#1A1A1A"),
    "gray": Style("Gray-out", "#8C8C8C"),
    "mean": Style("Mean", "#E69F00"),
    "blur": Style("Blur", "#D55E00"),
    "blur_removal": Style("Blur", "#D55E00"),
    "noise": Style("Noise-out", "#CC79A7"),
    "ideal": Style("Ideal sampler", "#6A3D9A", "limit", DASHED, "*"),
    "ideal_mask": Style("Ideal mask", "#B15FC9", "limit", DASHED, "*"),
    "random": Style("Random", "#A08C5B", "control", DOTTED, "x"),
    "generated_glow": Style("Glow samples", "#005A8C", "reference", DOTTED, "s"),
    "generated_ddpm": Style("DDPM samples", "#3A8FBF", "reference", DOTTED, "s"),
    "reference_val": Style("Validation images", "#4F6D7A", "reference", DOTTED, "s"),
    "reference_texture": Style("Texture images", "#7A9E4F", "reference", DOTTED, "s"),
    "reference_noise": Style("Gaussian noise", "#A65D57", "reference", DOTTED, "s"),
    "none": Style("Real", "#333333", "reference"),
    "mean_dataset": Style("Mean colour", "#8C8C8C"),
    "inpaint": Style("In-painter", "#117733", "proposed", marker="D"),
    "whole_image": Style("Whole image", "#C9C9C9", "control", DOTTED, "x"),
    "sliding_patch/mean_dataset": Style("SP", "#E6B84C"),
    "sliding_patch/inpaint": Style("SP-G", "#A87900", "proposed", marker="D"),
    "lime/mean_dataset": Style("LIME", "#6FBF8B"),
    "lime/inpaint": Style("LIME-G", "#117733", "proposed", marker="D"),
    "meaningful_perturbation/blur": Style("MP", "#9AA5B1"),
    "mp2/blur": Style("MP2", "#E58A7B"),
    "mp2/inpaint": Style("MP2-G", "#B03A2E", "proposed", marker="D"),
    "lime_seeds": Style("LIME", "#6FBF8B"),
    "lime_g_seeds": Style("LIME-G", "#117733", "proposed", marker="D"),
    "lime_segments": Style("LIME", "#6FBF8B"),
    "lime_g_segments": Style("LIME-G", "#117733", "proposed", marker="D"),
    "mp2_ordered": Style("MP2, ordered", "#F2B8AE"),
    "mp2_g_ordered": Style("MP2-G, ordered", "#7B241C", "proposed", marker="D"),
    "mp2_ordered_sizes": Style("MP2, ordered", "#F2B8AE"),
    "mp2_g_ordered_sizes": Style("MP2-G, ordered", "#7B241C", "proposed", marker="D"),
    "fido_sdr": Style("FIDO-CA, deletion", "#8877CC", "proposed", marker="D"),
    "random_pixel": Style("Random pixels", "#A08C5B", "control", DOTTED, "x"),
    "fido/inpaint": Style("FIDO-CA", "#332288", "proposed", marker="D"),
    "rise/black": Style("RISE", "#88CCEE"),
    "iba": Style("IBA", "#E69F00"),
    "input_iba": Style("InputIBA", "#D55E00"),
    "integrated_gradients": Style("Integrated Gradients", "#56B4E9"),
    "guided_backprop": Style("Guided-BP", "#1A1A1A"),
    "deep_lift": Style("DeepLIFT", "#8C8C8C"),
    "hsic": Style("HSIC", "#009E73"),
    "fisher": Style("Fisher/SDE", "#CC3377", "proposed", marker="D"),
    "fisher_smooth": Style("Fisher/SDE, smooth", "#882255", "proposed", marker="D"),
    "fisher_cells": Style("Fisher/SDE, 4x4", "#AA4499", "proposed", marker="D"),
    "fisher_eq49": Style("eq. 49", "#6A3D9A", "proposed", marker="D"),
    "dime": Style("DiME", "#0072B2", "proposed", marker="D"),
    "dime_full": Style("DiME", "#0072B2", "proposed", marker="D"),
    "dime_ddim": Style("DiME, three steps", "#56B4E9", "proposed", marker="D"),
    "dime_tweedie": Style("DiME, own estimate", "#009E73", "proposed", marker="D"),
    "dime_mask": Style("DiME, masked", "#117733", "proposed", marker="D"),
    "dime_exact": Style("DiME, eq. 6", "#882255", "proposed", marker="D"),
    "dime_direct": Style("Direct", "#E69F00"),
    "dime_naive": Style("Naive", "#D55E00"),
    "dime_early": Style("Early stopping", "#CC79A7"),
    "gcd": Style("GCD, class score alone", "#CC79A7", "proposed", marker="D"),
    "gcd_lambda": Style("GCD", "#882255", "proposed", marker="D"),
    "gcd_first": Style("GCD, first flip", "#AA4499", "proposed", marker="D"),
    "gcd_best": Style("GCD, best flip", "#AA4499", "proposed", marker="D"),
    "gcd_boundary": Style("GCD, source at the boundary", "#332288", "proposed", marker="D"),
    "gcd_mean": Style("GCD, five sources", "#CC3377", "proposed", marker="D"),
    "gcd_random": Style("Random direction", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_best": Style("Random, best flip", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_both": Style("Random, both ways", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_others": Style("Random ones combined", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_all": Style("Random ones combined", "#A08C5B", "control", DOTTED, "x"),
    "gcd_h_rest": Style("1st h without g", "#999933", "proposed", marker="D"),
    "reconstruction": Style("Reconstruction", "#5A5A5A", "control", DOTTED, "x"),
    "difference": Style("Difference", "#5A5A5A", "control", DOTTED, "x"),
    "squared_difference": Style("Squared difference", "#5A5A5A", "control", DOTTED, "x"),
    "gcd_h1": Style("1st h-direction", "#0072B2", "proposed", marker="D"),
    "gcd_h2": Style("2nd h-direction", "#56B4E9", "proposed", marker="D"),
    "gcd_h3": Style("3rd h-direction", "#009E73", "proposed", marker="D"),
    "gcd_h_others": Style("Others combined", "#117733", "proposed", marker="D"),
    "gcd_h_all": Style("All h-directions", "#117733", "proposed", marker="D"),
    "ace_l1": Style("ACE l1", "#E69F00"),
    "ace_l2": Style("ACE l2", "#D55E00"),
    "flow_counterfactual": Style("Flow ascent", "#A08C5B"),
    "bb_lig": Style("BB-LIG", "#882255", "proposed", marker="D"),
    "lig": Style("LIG", "#0072B2", "proposed", marker="D"),
    "bb_ig": Style("BB-IG", "#1A1A1A"),
    "dime_unconditional": Style("Unconditional", "#A08C5B", "control", DOTTED, "x"),
    "dime_noise": Style("Unconditional", "#A08C5B", "control", DOTTED, "x"),
    "ideal_counterfactual": Style("Re-rendered", "#6A3D9A", "limit", DASHED, "*"),
    "fisher_times": Style("1 - t", "#B15FC9", "proposed", marker="D"),
}
MARKS: ContextVar[Mapping[str, str]] = ContextVar("MARKS", default=MappingProxyType({}))  # see `marked`
SPARE = ("#882255", "#44AA99", "#AA4499", "#999933", "#332288", "#117733")
CLASSES = {"blond": "#E9C46A", "black": "#2B2B2B", "gray": "#A8ADB4", "brown": "#7B4B2A", "bald": "#F2C9A8"}
CLASS_SPARE = (
    "#4477AA",
    "#EE6677",
    "#228833",
    "#CCBB44",
    "#66CCEE",
    "#AA3377",
    "#BBBBBB",
    "#882255",
    "#117733",
    "#DDCC77",
)

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,
}


def key(cell: GridCell) -> str:
    """What names a method: its sampler where explainers do not differ, explainer and sampler where they do, its
    explainer when that fills nothing."""
    if (row := cell.choices.get("row")) in LOOKS:
        return row
    sampler, explainer = cell.choices.get("sampler") or "none", cell.choices.get("explainer", "none")
    if sampler == "none":
        return explainer
    pair = f"{explainer}/{sampler}"
    return sampler if explainer in ("none", "lime") and pair not in LOOKS else pair


def method_style(cell: GridCell, seen: Sequence[str] = ()) -> Style:
    """The look of a cell's method; methods unknown here get a spare colour that does not depend on the other cells."""
    name = key(cell)
    unmarked = LOOKS.get(name) or Style(name, SPARE[sum(map(ord, name)) % len(SPARE)], "yours", "-", "^")
    symbols = MARKS.get().get(name, "")
    return replace(unmarked, label=f"{unmarked.label} {symbols}") if symbols else unmarked


@contextmanager
def marked(symbols: Mapping[str, str]) -> Iterator[None]:
    """Inside, labels carry the marks of their table's rows. symbols: `key` of a method -> its marks."""
    token = MARKS.set(symbols)
    try:
        yield
    finally:
        MARKS.reset(token)


@contextmanager
def canvas(path: Path, width: float, height: float) -> Iterator[Any]:
    """A matplotlib figure in the house look, written as PNG (path) and PDF beside it when the block ends."""
    import logging

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every glyph that it embeds
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=170)
        figure.savefig(path.with_suffix(".pdf"))


def legend(figure: Any, handles: Sequence[Any], rows: int = 1, **options: Any) -> None:
    """One legend for all panels, below them."""
    columns = -(-len(handles) // rows)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=2.4, columnspacing=1.6, **options
    )


def handle(one: Style, **options: Any) -> Any:
    """A legend entry of a method."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": one.colour, "ls": one.line, "label": one.label, **options})


def stored(cell: GridCell, metric: str) -> dict[str, Tensor]:
    """What a metric stored for all images of a finished cell; {} when the job does not have it."""
    import torch

    job = cell.job
    if metric not in job.parts.metrics:
        return {}
    shards = [s for g in range(job.selection.n_groups) if (s := job.score(metric, g)) is not None]
    job.forget()
    return {name: torch.cat([s.tensors[name] for s in shards]) for name in (shards[0].tensors if shards else ())}


def seed_means(cells: Sequence[GridCell]) -> list[tuple[Style, list[GridCell]]]:
    """Cells grouped by method in order of appearance: repeats over seeds are drawn as one."""
    groups: dict[str, list[GridCell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return [(method_style(group[0]), group) for group in groups.values()]


def panel(axes: Any, **settings: Any) -> Any:
    """Set titles and limits in one call, and give the axes back."""
    axes.set(**settings)
    return axes


def bare(axes: Any) -> Any:
    """Axes that only hold a picture."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def picture(axes: Any, image: Tensor, framed: bool = False) -> Any:
    """An image [1 or 3,H,W] in [0,1] without axes; framed in red, where a counterfactual does not reach its class."""
    bare(axes).imshow(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
    if framed:
        for side in axes.spines.values():
            side.set(visible=True, color="#CC0000", linewidth=1.5)
    return axes
