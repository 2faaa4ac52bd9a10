"""One page of a job's picture sheet: pictures with lines of text, drawn into one array."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.files import write_bytes
from pomelo_lab.types import to_8_bits

BESIDE = 8  # images per band
TILE, LEFT, LINE, GAP = 150, 170, 21, 8  # pixels: picture, row names, line of text, space around pictures
FONT_PX = 15
MOST = 17  # largest number of letters above a picture
ANCHORS = {"left": "lm", "center": "mm", "right": "rm"}  # of a text, in Pillow's words; m = the middle of its line
PLAIN, NOTE, PALE, WRONG = "#222222", "#444444", "#777777", "#C00000"
RED = torch.tensor([0.8, 0.0, 0.0])[:, None, None]


@dataclass
class Shown:
    """One image of the sheet: lines of text above its pictures, and its pictures, each with a line below it.

    texts: row -> (text, colour).
    pictures: row -> ([3,H,W] in [0,1], line below it, whether it has a red frame).
    """

    texts: dict[str, tuple[str, str]]
    pictures: dict[str, tuple[Tensor, str, bool]] = field(default_factory=dict)


class Page:
    """The array of a page and the words on it.

    Images stand in bands of eight. Each has its lines of text, then its pictures, with a line below them if any image
    has one.

    Args: n_notes: number of lines below the bands.
    """

    def __init__(self, shown: Sequence[Shown], n_notes: int) -> None:
        self.text_rows = list(dict.fromkeys(name for entry in shown for name in entry.texts))
        self.rows = list(dict.fromkeys(name for entry in shown for name in entry.pictures))
        self.below = {name: any(entry.pictures.get(name, (None, ""))[1] for entry in shown) for name in self.rows}
        pictures = sum(TILE + GAP + LINE * self.below[name] for name in self.rows)
        self.band = LINE * len(self.text_rows) + pictures + 2 * GAP
        self.end = 2 * LINE + -(-len(shown) // BESIDE) * self.band  # of the bands
        self.width = LEFT + min(BESIDE, max(4, len(shown))) * (TILE + GAP)
        self.height = self.end + (n_notes + 1 if n_notes else 0) * LINE
        self.canvas = torch.ones(3, self.height, self.width)
        self.words: list[tuple[float, float, str, dict[str, Any]]] = []

    def write(self, x: float, y: float, text: str, **options: Any) -> None:
        self.words.append((x, y, text, options))

    def place(self, k: int, entry: Shown) -> None:
        """Adds image number k: its lines of text, then its pictures. The first image of a band also gets the names
        of the rows."""
        left, y = LEFT + (k % BESIDE) * (TILE + GAP), 2 * LINE + (k // BESIDE) * self.band
        middle, first, names = left + TILE / 2, k % BESIDE == 0, {"color": NOTE, "ha": "right"}
        for name in self.text_rows:
            text, colour = entry.texts.get(name, ("", PLAIN))
            self.write(middle, y + LINE / 2, shorten(text), ha="center", color=colour)
            if first:
                self.write(LEFT - GAP, y + LINE / 2, name, **names)
            y += LINE
        for name in self.rows:
            if first:
                self.write(LEFT - GAP, y + TILE / 2, "" if name == "image" else name, **names)
            if name in entry.pictures:
                picture, line, framed = entry.pictures[name]
                if framed:
                    self.canvas[:, y - 3 : y + TILE + 3, left - 3 : left + TILE + 3] = RED
                put(self.canvas, picture, (left, y), (TILE, TILE))
                below = y + TILE + GAP / 2 + LINE / 2 - 2
                self.write(middle, below, line, ha="center", color=WRONG if framed else NOTE)
            y += TILE + GAP + LINE * self.below[name]

    def note(self, i: int, text: str, bar: str) -> None:
        """Adds line number i below the bands, with the colours that it explains."""
        y = self.end + i * LINE
        if bar:
            put(self.canvas, ramp(bar), (GAP, y), (LEFT - 3 * GAP, LINE - 5))
        self.write(LEFT, y + LINE / 2 - 2, text, color=NOTE)

    def save(self, path: Path) -> None:
        """Saves the page as a PNG file, whole or not at all."""
        from PIL import Image, ImageDraw

        page = Image.fromarray(to_8_bits(self.canvas).permute(1, 2, 0).numpy())
        pen = ImageDraw.Draw(page)
        for x, y, text, options in self.words:
            font, anchor = load_font(options.get("weight", "")), ANCHORS[options.get("ha", "left")]
            pen.text((x, y), text, fill=options.get("color", "#000000"), font=font, anchor=anchor)
        buffer = io.BytesIO()
        page.save(buffer, format="png")
        write_bytes(path, buffer.getvalue())


@functools.cache
def load_font(weight: str = "") -> Any:
    """The font DejaVu Sans, whose files matplotlib contains. Matplotlib is not imported: that would take longer than
    the page. Args: weight: "" or "bold"."""
    from PIL import ImageFont

    folder = Path(find_spec("matplotlib").origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"DejaVuSans{'-Bold' if weight == 'bold' else ''}.ttf"), FONT_PX)


def draw_page(shown: Sequence[Shown], keys: Mapping[str, str], head: str, path: Path) -> None:
    """Draws images with their pictures, and explains the colours.

    Args: keys: row of pictures -> meaning of its colours.
    """
    rows = list(dict.fromkeys(name for entry in shown for name in entry.pictures))
    notes = explain_colours(keys, rows)
    if any(entry.texts.get("predicted", ("", ""))[1] == WRONG for entry in shown):
        notes.append(("predicted in red: not the true class", ""))
    page = Page(shown, len(notes))
    page.write(GAP, LINE, head, weight="bold")
    for k, entry in enumerate(shown):
        page.place(k, entry)
    for i, (text, bar) in enumerate(notes):
        page.note(i, text, bar)
    page.save(path)


def put(canvas: Tensor, picture: Tensor, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Draws a picture at (left, top), fitted into (width, height). Pixels of small pictures are repeated, those of
    large ones averaged."""
    from torch.nn.functional import interpolate

    width, height = size
    picture = picture.nan_to_num(0.0).clamp(0, 1)
    ratio = min(width / picture.shape[2], height / picture.shape[1])
    shape = (max(1, round(picture.shape[1] * ratio)), max(1, round(picture.shape[2] * ratio)))
    fitted = interpolate(picture[None], shape, mode="nearest-exact" if ratio >= 1 else "area")[0]
    left, top = corner[0] + (width - shape[1]) // 2, corner[1] + (height - shape[0]) // 2
    canvas[:, top : top + shape[0], left : left + shape[1]] = fitted


def ramp(kind: str) -> Tensor:
    """The colours of a key from left to right: [3,H,W], as wide as the key."""
    steps = torch.linspace(-1 if kind == "map" else 0, 1, LEFT - 3 * GAP).expand(LINE - 5, -1)
    if kind != "map":
        return steps.expand(3, -1, -1)
    return overlays(torch.full((1, 3, *steps.shape), 0.75), steps[None])[0]


def explain_colours(keys: Mapping[str, str], rows: list[str]) -> list[tuple[str, str]]:
    """Explains the colours: one line for each, with the kind of colour key drawn next to it ("map", "change" or "")."""
    out = []
    if "attribution" in keys:
        out.append(("attribution: red speaks for the explained class, blue against it, gray for neither", "map"))
        out.append(("each map has its own scale: full colour is the number below it,", ""))
        out.append(("gray is 0, or the least value of a map without negative ones", ""))
    if full := keys.get("difference"):
        out.append(
            (f"difference = counterfactual − image, one scale for all: black −{full}, gray 0, white +{full}", "change")
        )
    if any(name.startswith("perturbed") for name in rows):
        out.append(("perturbed: what the classifier is asked instead of the image", ""))
    return out


def overlays(image: Tensor, attribution: Tensor) -> Tensor:
    """Draws the maps over their images. Values that are not finite are not drawn."""
    from pomelo_lab.results.overlay import overlay

    return overlay(image.float().cpu(), attribution.float().cpu().nan_to_num(0.0, 0.0, 0.0))


def shorten(text: str, most: int = MOST) -> str:
    """The end of a text, which distinguishes files, cut to the width of a picture."""
    return text if len(text) <= most else "…" + text[-(most - 1) :]
