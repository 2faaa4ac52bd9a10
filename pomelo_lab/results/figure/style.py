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

from pomelo_lab.results.preset import Cell


@dataclass(frozen=True)
class Look:
    """How a method is drawn. group: "proposed", "baseline", "limit", "control" or "reference"."""

    label: str
    colour: str
    group: str = "baseline"
    line: Any = "-"
    marker: str = "o"


DASHED, DOTTED = (0, (5, 2)), (0, (1, 1.5))
LOOKS = {
    "flow": Look("Flow", "#0072B2", "proposed", marker="D"),
    "flow_cool": Look("Flow, T 0.5", "#00385C", "proposed", marker="d"),
    "ddim": Look("Diffusion", "#56B4E9", "proposed", marker="D"),
    "ddim_fast": Look("Diffusion, few steps", "#88C9B0", "proposed", marker="D"),
    "inpaint_ddim": Look("In-painting", "#009E73", "proposed", marker="D"),
    "black": Look("Black-out", "#1A1A1A"),
    "gray": Look("Gray-out", "#8C8C8C"),
    "mean": Look("Mean", "#E69F00"),
    "blur": Look("Blur", "#D55E00"),
    "blur_removal": Look("Blur", "#D55E00"),
    "noise": Look("Noise-out", "#CC79A7"),
    "ideal": Look("Ideal sampler", "#6A3D9A", "limit", DASHED, "*"),
    "ideal_mask": Look("Ideal mask", "#B15FC9", "limit", DASHED, "*"),
    "random": Look("Random", "#A08C5B", "control", DOTTED, "x"),
    "generated_glow": Look("Glow samples", "#005A8C", "reference", DOTTED, "s"),
    "generated_ddpm": Look("DDPM samples", "#3A8FBF", "reference", DOTTED, "s"),
    "reference_val": Look("Validation images", "#4F6D7A", "reference", DOTTED, "s"),
    "reference_texture": Look("Texture images", "#7A9E4F", "reference", DOTTED, "s"),
    "reference_noise": Look("Gaussian noise", "#A65D57", "reference", DOTTED, "s"),
    "none": Look("Real", "#333333", "reference"),
    "mean_dataset": Look("Mean colour", "#8C8C8C"),
    "inpaint": Look("In-painter", "#117733", "proposed", marker="D"),
    "whole_image": Look("Whole image", "#C9C9C9", "control", DOTTED, "x"),
    "sliding_patch/mean_dataset": Look("SP", "#E6B84C"),
    "sliding_patch/inpaint": Look("SP-G", "#A87900", "proposed", marker="D"),
    "lime/mean_dataset": Look("LIME", "#6FBF8B"),
    "lime/inpaint": Look("LIME-G", "#117733", "proposed", marker="D"),
    "meaningful_perturbation/blur": Look("MP", "#9AA5B1"),
    "mp2/blur": Look("MP2", "#E58A7B"),
    "mp2/inpaint": Look("MP2-G", "#B03A2E", "proposed", marker="D"),
    "lime_seeds": Look("LIME", "#6FBF8B"),
    "lime_g_seeds": Look("LIME-G", "#117733", "proposed", marker="D"),
    "lime_segments": Look("LIME", "#6FBF8B"),
    "lime_g_segments": Look("LIME-G", "#117733", "proposed", marker="D"),
    "mp2_ordered": Look("MP2, ordered", "#F2B8AE"),
    "mp2_g_ordered": Look("MP2-G, ordered", "#7B241C", "proposed", marker="D"),
    "mp2_ordered_sizes": Look("MP2, ordered", "#F2B8AE"),
    "mp2_g_ordered_sizes": Look("MP2-G, ordered", "#7B241C", "proposed", marker="D"),
    "fido_sdr": Look("FIDO-CA, deletion", "#8877CC", "proposed", marker="D"),
    "random_pixel": Look("Random pixels", "#A08C5B", "control", DOTTED, "x"),
    "fido/inpaint": Look("FIDO-CA", "#332288", "proposed", marker="D"),
    "rise/black": Look("RISE", "#88CCEE"),
    "iba": Look("IBA", "#E69F00"),
    "input_iba": Look("InputIBA", "#D55E00"),
    "integrated_gradients": Look("Integrated Gradients", "#56B4E9"),
    "guided_backprop": Look("Guided-BP", "#1A1A1A"),
    "deep_lift": Look("DeepLIFT", "#8C8C8C"),
    "hsic": Look("HSIC", "#009E73"),
    "fisher": Look("Fisher/SDE", "#CC3377", "proposed", marker="D"),
    "fisher_smooth": Look("Fisher/SDE, smooth", "#882255", "proposed", marker="D"),
    "fisher_cells": Look("Fisher/SDE, 4x4", "#AA4499", "proposed", marker="D"),
    "fisher_eq49": Look("eq. 49", "#6A3D9A", "proposed", marker="D"),
    "dime": Look("DiME", "#0072B2", "proposed", marker="D"),
    "dime_full": Look("DiME", "#0072B2", "proposed", marker="D"),
    "dime_ddim": Look("DiME, three steps", "#56B4E9", "proposed", marker="D"),
    "dime_tweedie": Look("DiME, own estimate", "#009E73", "proposed", marker="D"),
    "dime_mask": Look("DiME, masked", "#117733", "proposed", marker="D"),
    "dime_exact": Look("DiME, eq. 6", "#882255", "proposed", marker="D"),
    "dime_direct": Look("Direct", "#E69F00"),
    "dime_naive": Look("Naive", "#D55E00"),
    "dime_early": Look("Early stopping", "#CC79A7"),
    "gcd": Look("GCD, class score alone", "#CC79A7", "proposed", marker="D"),
    "gcd_lambda": Look("GCD", "#882255", "proposed", marker="D"),
    "gcd_first": Look("GCD, first flip", "#AA4499", "proposed", marker="D"),
    "gcd_best": Look("GCD, best flip", "#AA4499", "proposed", marker="D"),
    "gcd_boundary": Look("GCD, source at the boundary", "#332288", "proposed", marker="D"),
    "gcd_mean": Look("GCD, five sources", "#CC3377", "proposed", marker="D"),
    "gcd_random": Look("Random direction", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_best": Look("Random, best flip", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_both": Look("Random, both ways", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_others": Look("Random ones combined", "#A08C5B", "control", DOTTED, "x"),
    "gcd_random_all": Look("Random ones combined", "#A08C5B", "control", DOTTED, "x"),
    "gcd_h_rest": Look("1st h without g", "#999933", "proposed", marker="D"),
    "reconstruction": Look("Reconstruction", "#5A5A5A", "control", DOTTED, "x"),
    "difference": Look("Difference", "#5A5A5A", "control", DOTTED, "x"),
    "squared_difference": Look("Squared difference", "#5A5A5A", "control", DOTTED, "x"),
    "gcd_h1": Look("1st h-direction", "#0072B2", "proposed", marker="D"),
    "gcd_h2": Look("2nd h-direction", "#56B4E9", "proposed", marker="D"),
    "gcd_h3": Look("3rd h-direction", "#009E73", "proposed", marker="D"),
    "gcd_h_others": Look("Others combined", "#117733", "proposed", marker="D"),
    "gcd_h_all": Look("All h-directions", "#117733", "proposed", marker="D"),
    "ace_l1": Look("ACE l1", "#E69F00"),
    "ace_l2": Look("ACE l2", "#D55E00"),
    "flow_counterfactual": Look("Flow ascent", "#A08C5B"),
    "bb_lig": Look("BB-LIG", "#882255", "proposed", marker="D"),
    "lig": Look("LIG", "#0072B2", "proposed", marker="D"),
    "bb_ig": Look("BB-IG", "#1A1A1A"),
    "dime_unconditional": Look("Unconditional", "#A08C5B", "control", DOTTED, "x"),
    "dime_noise": Look("Unconditional", "#A08C5B", "control", DOTTED, "x"),
    "ideal_counterfactual": Look("Re-rendered", "#6A3D9A", "limit", DASHED, "*"),
    "fisher_times": Look("1 - t", "#B15FC9", "proposed", marker="D"),
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


def key(cell: Cell) -> str:
    """What names a method: its sampler where explainers do not differ, explainer and sampler where they do, its
    explainer when that fills nothing."""
    if (row := cell.choices.get("row")) in LOOKS:
        return row
    sampler, explainer = cell.choices.get("sampler") or "none", cell.choices.get("explainer", "none")
    if sampler == "none":
        return explainer
    pair = f"{explainer}/{sampler}"
    return sampler if explainer in ("none", "lime") and pair not in LOOKS else pair


def look(cell: Cell, seen: Sequence[str] = ()) -> Look:
    """The look of a cell's method; methods unknown here get a spare colour that does not depend on the other cells."""
    name = key(cell)
    unmarked = LOOKS.get(name) or Look(name, SPARE[sum(map(ord, name)) % len(SPARE)], "yours", "-", "^")
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


def handle(one: Look, **options: Any) -> Any:
    """A legend entry of a method."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": one.colour, "ls": one.line, "label": one.label, **options})


def stored(cell: Cell, metric: str) -> dict[str, Tensor]:
    """What a metric stored for all images of a finished cell; {} when the job does not have it."""
    import torch

    job = cell.job
    if metric not in job.metrics:
        return {}
    shards = [s for g in range(job.n_groups) if (s := job.score(metric, g)) is not None]
    job.forget()
    return {name: torch.cat([s.tensors[name] for s in shards]) for name in (shards[0].tensors if shards else ())}


def seed_means(cells: Sequence[Cell]) -> list[tuple[Look, list[Cell]]]:
    """Cells grouped by method in order of appearance: repeats over seeds are drawn as one."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return [(look(group[0]), group) for group in groups.values()]


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
