"""The style of figures: a fixed colour for each method, with label and group from the report."""

from __future__ import annotations

import math
import re
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.method import components, method_names
from pomelo_lab.results.report import Row

if TYPE_CHECKING:
    from torch import Tensor


class NothingToDrawError(ValueError):
    """Raised by a figure whose jobs have none of the scores that it draws."""


@dataclass(frozen=True)
class Style:
    """The drawing style of a method.

    Args:
        group, reach: group and reach of the method's row in the report.
        key: the label without marks, equal for all cells of a method.
    """

    label: str
    colour: str
    group: str = "baseline"
    reach: str = "segment"
    key: str = ""

    @property
    def line(self) -> Any:
        return LINES.get(self.group, "-")

    @property
    def marker(self) -> str:
        return MARKERS.get(self.group, "D" if self.reach == "image" else "o")


DASHED, DOTTED = (0, (5, 2)), (0, (1, 1.5))
LINES = {"limit": DASHED, "control": DOTTED, "reference": DOTTED}
MARKERS = {"limit": "*", "control": "x", "reference": "s", "yours": "^"}
METHODS_BY_COLOUR = {
    "#0072B2": "flow dime dime_full gcd_h1 lig",
    "#00385C": "flow_cool",
    "#56B4E9": "ddim integrated_gradients dime_ddim gcd_h2",
    "#88C9B0": "ddim_fast",
    "#009E73": "inpaint_ddim hsic dime_tweedie gcd_h3",
    "#1A1A1A": "black guided_backprop bb_ig",
    "#8C8C8C": "gray mean_dataset deep_lift",
    "#E69F00": "mean iba dime_direct ace_l1",
    "#D55E00": "blur blur_removal input_iba dime_naive ace_l2",
    "#CC79A7": "noise dime_early gcd",
    "#6A3D9A": "ideal fisher_eq49 ideal_counterfactual",
    "#B15FC9": "ideal_mask",
    "#E08BB8": "fisher_times",
    "#A08C5B": "random random_pixel gcd_random gcd_random_best gcd_random_both gcd_random_others gcd_random_all "
    "flow_counterfactual dime_unconditional dime_unconditional_all dime_noise",
    "#005A8C": "generated_glow",
    "#3A8FBF": "generated_ddpm",
    "#4F6D7A": "reference_val",
    "#7A9E4F": "reference_texture",
    "#A65D57": "reference_noise",
    "#333333": "none",
    "#117733": "inpaint lime_g dime_mask gcd_h_others gcd_h_all",
    "#C9C9C9": "whole_image",
    "#E6B84C": "sp",
    "#A87900": "sp_g",
    "#6FBF8B": "lime",
    "#9AA5B1": "mp",
    "#E58A7B": "mp2",
    "#B03A2E": "mp2_g",
    "#F2B8AE": "mp2_ordered",
    "#7B241C": "mp2_g_ordered",
    "#8877CC": "fido_sdr",
    "#332288": "fido_ca gcd_boundary",
    "#88CCEE": "rise",
    "#CC3377": "fisher gcd_mean",
    "#999933": "guided_backprop_abs gcd_h_rest",
    "#44AA99": "integrated_gradients_black dime_eq5",
    "#DDAA33": "fisher_ve",
    "#882255": "fisher_smooth dime_exact gcd_lambda bb_lig",
    "#AA4499": "fisher_cells gcd_first gcd_best",
    "#5A5A5A": "reconstruction difference squared_difference",
}
COLOURS = {name: colour for colour, names in METHODS_BY_COLOUR.items() for name in names.split()}
VARIED = re.compile("_(seeds|segments|sizes)$")  # suffixes of the same method at other settings
STYLES: ContextVar[Mapping[int, Style]] = ContextVar("STYLES", default=MappingProxyType({}))  # set by `styled`
CAPTION: ContextVar[str] = ContextVar("CAPTION", default="")  # set by `styled`
LETTERS_PER_INCH, LINE_INCHES = 22, 0.12  # of a caption
FRAME_KEY = "red frame: the counterfactual does not reach its class"
MAP_KEY = "red: speaks for the explained class, blue: against it; each map has its own scale"
LEGEND_INCHES, LETTER_INCHES = 0.6, 0.065  # widths in a legend entry: its line with the space around it, a letter
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


def method_style(cell: GridCell) -> Style:
    """The style of a cell's method: label and group of its row while a table's figure is drawn, otherwise its plain
    name."""
    drawn = STYLES.get().get(id(cell))
    name = method_names(cell)[0]
    return drawn or Style(name, method_colour(cell), "yours", "image", name)


def method_colour(cell: GridCell) -> str:
    """The colour of a method, or of its sampler when only LIME or no explainer is used, or of its explainer.

    A method without a fixed colour gets a spare one that does not depend on the other cells.
    """
    sampler, explainer = components(cell)
    part = explainer if sampler == "none" or explainer not in ("none", "lime") else sampler
    names = [*(VARIED.sub("", name) for name in method_names(cell)), part]
    known = [COLOURS[name] for name in names if name in COLOURS]
    return known[0] if known else SPARE[sum(map(ord, names[0])) % len(SPARE)]


@contextmanager
def styled(rows: Sequence[tuple[GridCell, Row]], symbols: Mapping[str, str]) -> Iterator[None]:
    """A context in which cells are drawn with the labels and groups of their rows, and figures say what they show.

    Args: symbols: key of a row -> its marks in the table, which are appended to its label.
    """
    styles = {}
    for cell, row in rows:
        label = " ".join(filter(None, [row.plain_label, symbols.get(row.key)]))
        styles[id(cell)] = Style(label, method_colour(cell), row.group, row.reach, row.plain_label)
    tokens = STYLES.set(styles), CAPTION.set(describe_origin([cell for cell, _ in rows]))
    try:
        yield
    finally:
        STYLES.reset(tokens[0])
        CAPTION.reset(tokens[1])


def describe_origin(cells: Sequence[GridCell]) -> str:
    """The data sets, classifiers, scale and last day of jobs, for the caption of their figure. "" for unknown ones."""
    parts = [list(dict.fromkeys(cell.choices.get(role, "") for cell in cells)) for role in ("dataset", "classifier")]
    parts.append(list(dict.fromkeys(f"scale={(cell.config.get('scale') or {}).get('name', '')}" for cell in cells)))
    started = max((cell.status.get("started", 0) for cell in cells), default=0)
    day = [time.strftime("%Y-%m-%d", time.gmtime(started))] if started else []
    return " · ".join([*(", ".join(filter(None, names)) for names in parts if any(names)), *day])


@contextmanager
def canvas(path: Path, width: float, height: float, key: str = "") -> Iterator[Any]:
    """A context with a matplotlib figure in the common style. When it ends, the figure is written as PNG (path) and
    as PDF with the same name. A caption below it says what the figure's numbers come from.

    Args: width, height: inches, without the caption; key: what colours or frames mean, for the caption.
    """
    import logging

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # fontTools logs every glyph that it embeds
    with matplotlib.rc_context(RC):
        lines = [line for text in (key, CAPTION.get()) for line in textwrap.wrap(text, int(width * LETTERS_PER_INCH))]
        below = LINE_INCHES * len(lines)
        figure = Figure(figsize=(width, height + below), layout="constrained")
        FigureCanvasAgg(figure)
        share = below / (height + below)
        figure.get_layout_engine().set(rect=(0, share, 1, 1 - share))
        yield figure
        figure.text(0.995, 0.01 * share, "\n".join(lines), ha="right", va="bottom", fontsize=6, color="#666666")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=170)
        figure.savefig(path.with_suffix(".pdf"))


def add_legend(figure: Any, handles: Sequence[Any], **options: Any) -> None:
    """Adds one legend for all panels below them, in as many columns as fit the figure."""
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    widest = LEGEND_INCHES + LETTER_INCHES * longest
    fitting = max(1, int(figure.get_figwidth() / widest))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / fitting)) if handles else 1  # as even as possible
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=2.4, columnspacing=1.6, **options
    )


def legend_entry(method: Style, **options: Any) -> Any:
    """The legend entry of a method."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **{"color": method.colour, "ls": method.line, "label": method.label, **options})


def read_metric(cell: GridCell, metric: str) -> dict[str, Tensor]:
    """Reads the tensors that a metric stored for all images of a finished cell; empty when the job does not have the
    metric."""
    from pomelo_lab.results.evidence import read_rows

    return read_rows(cell.job, metric)


def group_by_method(cells: Sequence[GridCell]) -> list[tuple[Style, list[GridCell]]]:
    """Groups cells by method, in order of appearance. Repeats over seeds are drawn as one method."""
    groups: dict[str, list[GridCell]] = {}
    for cell in cells:
        groups.setdefault(method_style(cell).key, []).append(cell)
    return [(method_style(group[0]), group) for group in groups.values()]


def hide_axes(axes: Any) -> Any:
    """Hides the axes of a panel that only holds a picture."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def show_image(axes: Any, image: Tensor, framed: bool = False) -> Any:
    """Draws an image [1 or 3,H,W] in [0,1] without axes. A red frame marks a counterfactual that does not reach its
    class."""
    hide_axes(axes).imshow(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest")
    if framed:
        for side in axes.spines.values():
            side.set(visible=True, color="#CC0000", linewidth=1.5)
    return axes
