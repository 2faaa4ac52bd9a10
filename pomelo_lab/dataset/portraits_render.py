"""Paints portraits: from causes to 8-bit-exact pixels, the mask of every part, and the region that hair colour decides.

Layers are painted from back to front with their coverage. The image is kept as `canvas + hair_weight * hair_rgb`, once
with and once without hair, so that all five hair colours of a person cost little more than one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pomelo_lab.dataset import portraits_shapes as shapes
from pomelo_lab.dataset.portraits_causes import HAIR_COLORS
from pomelo_lab.dataset.portraits_scene import Scene, bump, edge, ramp, wave

PARTS = (
    "background",
    "hair",
    "skin",
    "eyes",
    "brows",
    "mouth",
    "nose",
    "beard",
    "glasses",
    "neck",
    "clothes",
    "hat",
    "earrings",
    "mark",
)
ID = {name: i for i, name in enumerate(PARTS)}
BALD = HAIR_COLORS.index("bald")
PIXELS_AT_ONCE = 1 << 17  # per plane: working sets of this size stay in the cache

# darkest rgb, lightest rgb, shift from ash to warm
HAIR_RGB = {
    "blond": ((0.60, 0.45, 0.22), (0.93, 0.80, 0.50), (0.08, -0.01, -0.08)),
    "black": ((0.035, 0.03, 0.035), (0.16, 0.135, 0.13), (0.03, 0.00, -0.03)),
    "gray": ((0.40, 0.40, 0.41), (0.86, 0.86, 0.87), (0.025, 0.00, -0.03)),
    "brown": ((0.19, 0.12, 0.07), (0.50, 0.33, 0.19), (0.08, 0.00, -0.04)),
}
SKIN_RGB = ((1.0, 0.86, 0.765), (0.96, 0.79, 0.67), (0.79, 0.58, 0.44), (0.47, 0.31, 0.22))
IRIS_RGB = ((0.34, 0.20, 0.11), (0.30, 0.50, 0.72), (0.32, 0.52, 0.32), (0.52, 0.40, 0.20))
FACIAL_HAIR_RGB = ((0.66, 0.50, 0.30), (0.36, 0.23, 0.14), (0.13, 0.10, 0.09), (0.60, 0.60, 0.61))
LIPSTICK_RGB = ((0.72, 0.42, 0.38), (0.78, 0.10, 0.14), (0.90, 0.36, 0.50), (0.50, 0.12, 0.32))
MARK_RGB = (0.95, 0.10, 0.75)


def planes(t: Tensor) -> Tensor:
    """Reshapes numbers [B,k] or [B,1,1] to colours [B,k,1,1]."""
    return t[:, :, None, None] if t.ndim == 2 else t[:, None]


def hsv(hue: Tensor, chroma: Tensor, light: Tensor) -> Tensor:
    """A colour [B,3,1,1] from hue (turns), saturation and value [B,1,1]."""
    h = hue * 6
    rgb = torch.stack([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], 1).clamp_(0, 1)
    return planes(light) * (1 - planes(chroma) * (1 - rgb))


def paint(canvas: Tensor, cover: Tensor, colour: Tensor | tuple | float, shade: Tensor | None = None) -> None:
    """Blends a colour into canvas [...,B,3,H,W] in place. cover and shade are [...,B,H,W]; shade multiplies the
    colour."""
    if isinstance(colour, tuple):
        colour = torch.tensor(colour, device=canvas.device)[:, None, None]
    weight = (cover if shade is None else cover * shade).unsqueeze(-3)
    canvas.mul_(1 - cover.unsqueeze(-3)).add_(weight * colour)


class Painter:
    """Paints a group of people on one canvas. `render` is the entry point.

    Shapes: canvas [V,B,3,H,W] with V = 2 versions (bald, with hair) or V = 1 (the person's own).
    """

    def __init__(self, factors: Mapping[str, Tensor], size_px: int, with_masks: bool) -> None:
        self.s = s = Scene(factors, size_px)
        self.b, self.h = s.u.shape[0], size_px
        self.with_masks = with_masks
        has_hair = (factors["hair_color"] != BALD).float()[:, None, None]
        self.worn = (
            torch.stack([torch.zeros_like(has_hair), torch.ones_like(has_hair)]) if with_masks else has_hair[None]
        )
        self.has_hair = has_hair
        self.owner = torch.zeros(s.u.shape, dtype=torch.uint8, device=s.u.device) if with_masks else None
        lit = s["light_strength"] * s["light_x"]
        self.side = lit * s.u * 0.22
        self.body_side = lit * s.body_u * 0.15

    def own(self, part: str, cover: Tensor, rows: Tensor | None = None) -> None:
        """Assigns the pixels that a part covers by more than half to the part's mask."""
        if self.owner is None:
            return
        if rows is None:
            self.owner.masked_fill_(cover > 0.5, ID[part])
        else:
            self.owner[rows] = self.owner[rows].masked_fill(cover > 0.5, ID[part])

    def background(self) -> None:
        s = self.s
        hue, light = s["background_hue"], 0.30 + 0.65 * s["background_light"]
        chroma = s["background_chroma"] * s["background_chroma"] * 0.75
        first = hsv(hue, chroma, light)
        hue2 = hue + 0.25 * s["background_shift"]
        second = hsv(
            hue2 - hue2.floor(),
            chroma * (0.5 + 0.8 * s["background_phase"]),
            light * (0.62 + 0.25 * s["background_shift"]),
        )
        weight = shapes.backdrop(s)[:, None]
        vignette = 1.03 - 0.10 * (s.frame_x * s.frame_x + s.frame_y * s.frame_y)
        plain = (first + (second - first) * weight) * vignette[:, None]
        self.canvas = plain.expand(len(self.worn), -1, -1, -1, -1).clone()
        self.hair_weight = torch.zeros(len(self.worn), self.b, self.h, self.h, device=plain.device)

    def over(self, part: str, cover: Tensor, colour, shade: Tensor | None = None, rows: Tensor | None = None) -> None:
        """Paints a layer over all earlier layers, including hair."""
        if rows is None:
            self.hair_weight.mul_(1 - cover)
            paint(self.canvas, cover, colour, shade)
        else:
            self.hair_weight[:, rows] *= 1 - cover
            canvas = self.canvas[:, rows]
            paint(canvas, cover, colour, shade)
            self.canvas[:, rows] = canvas
        self.own(part, cover, rows)

    def add_hair(self, cover: Tensor, light: Tensor, gloss: Tensor) -> None:
        """Adds hair: weight for its colour and a little white for the gloss. It covers nothing in the bald version."""
        worn = cover * self.worn
        self.hair_weight.mul_(1 - worn).add_(worn * light)
        self.canvas.mul_(1 - worn.unsqueeze(2)).add_((worn * gloss).unsqueeze(2))
        self.own("hair", cover * self.has_hair)

    def skin_colour(self) -> Tensor:
        """The skin colour [B,3,1,1], piecewise linear between four tones."""
        t = self.s["skin"] * 3
        rgb = 0
        for i, tone in enumerate(SKIN_RGB):
            rgb = rgb + planes((1 - (t - i).abs()).clamp(min=0)) * torch.tensor(tone, device=t.device)[:, None, None]
        return rgb

    def face(self, square: Tensor, skin: Tensor, head: Tensor) -> Tensor:
        """Colours of the face [B,3,H,W]; the parts on it claim their pixels within the head."""
        s = self.s
        shine = bump(s.v + 0.55, 0.5) * bump(s.u - 0.2 * s["light_x"], 0.55)
        light = 1.05 - 0.20 * square * square + self.side + 0.06 * shine
        socket = bump(s.abs_u - 0.33, 0.30) * bump(s.v + 0.05, 0.22)
        light = light - 0.07 * socket - 0.38 * shapes.wrinkles(s)
        face = skin * light.clamp_(min=0)[:, None]
        cheek = bump(s.abs_u - 0.43, 0.30) * bump(s.v - 0.30, 0.26) * (0.10 + 0.60 * (s["blush"] - 0.35).clamp(min=0))
        paint(face, cheek, (0.90, 0.36, 0.34), light)

        rows = s.code["beard"].nonzero()[:, 0]
        if len(rows):
            bearded = s.rows(rows)
            cover = shapes.beard(bearded, head[rows])
            grain = 0.96 + 0.06 * wave(bearded.u * 7 + 2 * bearded.v) + 0.05 * wave(bearded.u * 5 - 3 * bearded.v)
            part = face[rows]
            paint(part, cover * 0.92, planes(bearded.pick("facial_hair_color", FACIAL_HAIR_RGB)), grain)
            face[rows] = part
            self.own("beard", cover, rows)

        cover, nostril, tone = shapes.nose(s)
        shade = light * (1.03 + 0.09 * tone * s["light_x"] * s["light_strength"]) - 0.08 * tone * tone
        paint(face, cover, skin * skin.new_tensor((1.0, 0.965, 0.955))[:, None, None], shade)
        paint(face, nostril * 0.55, skin * 0.35)
        self.own("nose", cover * head)

        m = shapes.mouth(s)
        bare = (s["lipstick"] == 0).float()
        lips = planes(s.pick("lipstick", LIPSTICK_RGB))
        natural = skin * skin.new_tensor((0.86, 0.66, 0.64))[:, None, None]
        lips = planes(bare) * natural + planes(1 - bare) * lips
        paint(face, m["lips"], lips, light + 0.10 * bump(s.v - shapes.MOUTH_V - 0.06, 0.05))
        paint(face, m["line"] * 0.7, lips * 0.45)
        paint(face, m["inside"], (0.30, 0.06, 0.07))
        paint(face, m["teeth"], (0.96, 0.95, 0.92))
        self.own("mouth", m["lips"] * head)

        cover = shapes.brows(s)
        paint(face, cover * 0.88, planes(s.pick("facial_hair_color", FACIAL_HAIR_RGB)) * 0.85)
        self.own("brows", cover * head)

        e = shapes.eyes(s)
        paint(face, e["white"], (0.97, 0.97, 0.96), 0.90 + 0.10 * ramp(s.v, -0.10, 0.0))
        paint(face, e["iris"], planes(s.pick("eye_color", IRIS_RGB)))
        paint(face, e["pupil"], (0.04, 0.03, 0.03))
        paint(face, e["lash"] * 0.85, (0.10, 0.07, 0.06))
        paint(face, e["glint"], 1.0)
        self.own("eyes", torch.maximum(e["white"], e["lash"]) * head)
        return face

    def people(self) -> None:
        """Hair behind, body, head with its face, hair in front."""
        s = self.s
        skin = self.skin_colour()
        head, square = shapes.head(s)
        ear = shapes.ears(s)
        back, front, shadow = shapes.hair(s, ear)
        light, gloss = shapes.strands(s)
        light = light + 1.2 * self.side

        self.add_hair(back, light * 0.68, torch.zeros_like(gloss))
        b = shapes.body(s)
        self.over("neck", b["neck"], skin, b["shade"] + self.body_side)
        cloth = hsv(s["shirt_hue"], 0.15 + 0.65 * s["shirt_chroma"], 0.18 + 0.75 * s["shirt_light"])
        trim = hsv(s["trim_hue"], 0.30 + 0.30 * s["shirt_chroma"], 0.25 + 0.70 * s["shirt_light"])
        fold = (
            1.0 + self.body_side + 0.05 * wave(s.body_u * 1.3 + 0.6 * s.body_v) - 0.12 * ramp(s.body_u.abs(), 0.7, 1.5)
        )
        self.over("clothes", b["shirt"], cloth, fold)
        collar = planes((s["shirt"] >= 2).float())
        self.over("clothes", b["trim"], cloth * 0.80 * (1 - collar) + (0.35 * cloth + 0.60) * collar, fold)
        self.over("clothes", b["tie"], trim * 0.7, fold)

        self.over(
            "skin", ear, skin, 0.88 + self.side - 0.25 * bump(s.abs_u - s.width * 0.99, 0.06) * bump(s.v - 0.06, 0.12)
        )
        self.own("skin", head)
        face = self.face(square, skin, head)
        dark = 1 - 0.34 * shadow * self.worn
        self.hair_weight.mul_(1 - head)
        self.canvas.mul_(1 - head[:, None]).add_(face * (head * dark).unsqueeze(2))
        self.add_hair(front, light, 0.13 * gloss.clamp_(min=0))

    def extras(self) -> None:
        """Paints glasses, earrings, hat and mark for the people who have them."""
        for name, draw in (
            ("earrings", self.earrings),
            ("glasses", self.glasses),
            ("hat", self.hat),
            ("mark", self.mark),
        ):
            rows = self.s.code[name].nonzero()[:, 0]
            if len(rows):
                draw(self.s.rows(rows), rows)

    def earrings(self, s: Scene, rows: Tensor) -> None:
        metal = planes(1 - s["frame_light"].round()) * s.u.new_tensor((0.12, 0.04, -0.25))[:, None, None] + 0.80
        self.over("earrings", shapes.earrings(s), metal, 1.05 - 0.6 * ramp(s.v, 0.26, 0.50), rows)

    def glasses(self, s: Scene, rows: Tensor) -> None:
        frame, lens = shapes.glasses(s)
        sun = s.is_("glasses", 3)
        sheen = bump(s.abs_u - 0.30 + s.v * 0.6, 0.09) * lens
        self.over("glasses", lens * (0.06 + 0.86 * sun), 0.10 + 0.85 * planes(1 - sun), None, rows)
        self.over("glasses", sheen * 0.16, 1.0, None, rows)
        rim = hsv(s["trim_hue"], 0.55 * s["frame_light"], 0.08 + 0.34 * s["frame_light"])
        self.over("glasses", frame, rim, None, rows)

    def hat(self, s: Scene, rows: Tensor) -> None:
        whole, second = shapes.hat(s)
        colour = hsv(s["hat_hue"], 0.10 + 0.70 * s["hat_chroma"], 0.15 + 0.75 * s["hat_light"])
        shade = 1 - 0.16 * (s.u / (s.width + 0.2)).square_() + 1.2 * self.side[rows] + 0.10 * bump(s.v + 1.0, 0.4)
        knit = s.is_("hat", 2) * 0.06 * wave(s.u * 5)
        self.over("hat", whole, colour, shade + knit, rows)
        self.over("hat", second, colour * 0.72, shade + knit, rows)

    def mark(self, s: Scene, rows: Tensor) -> None:
        """Paints a ring with a dot in the lower left corner, at the same position in every frame."""
        x, y = s.frame_x + 0.84, s.frame_y - 0.84
        r = (x * x + y * y).sqrt().expand_as(s.u)
        px = torch.full_like(s.px, 2 / self.h)
        self.over("mark", edge(r - 0.115, px), MARK_RGB, None, rows)
        self.over("mark", edge((r - 0.065).abs() - 0.018, px), 1.0, None, rows)

    def finish(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The final 8-bit pixels and, with masks, the pixels that another hair colour would change."""
        s = self.s
        exposure = 0.83 + 0.25 * s["exposure"]
        warm = 0.035 * s["light_warmth"]
        tint = torch.stack([exposure + warm, exposure, exposure - warm], 1)
        code = s.code["hair_color"]
        rgb = self.hair_rgb()  # [4,B,3,1,1]

        def pixels(version: int, colour: Tensor) -> Tensor:
            image = self.hair_weight[version][:, None] * colour
            return image.add_(self.canvas[version]).mul_(tint).clamp_(0, 1).mul_(255).round_()

        worn = rgb[code.clamp(max=3), torch.arange(self.b, device=code.device)]
        if not self.with_masks:
            return pixels(0, worn).div_(255), {}
        bald, dressed = pixels(0, torch.zeros_like(worn)), [pixels(1, colour) for colour in rgb]
        image = bald
        for k, version in enumerate(dressed):
            image = torch.where((code == k)[:, None, None, None], version, image)
        label = (image != bald).any(1)
        for version in dressed:
            label |= (image != version).any(1)
        masks = {name: self.owner == i for i, name in enumerate(PARTS)}
        return image.div(255), {**masks, "label": label}

    def hair_rgb(self) -> Tensor:
        """The hair of each person in each colour class, [4,B,3,1,1]."""
        table = torch.tensor(tuple(HAIR_RGB.values()), device=self.s.u.device)[:, :, :, None, None, None]
        light, warmth = self.s["hair_light"], self.s["hair_warmth"]
        dark, bright, shift = table.unbind(1)  # each [4,3,1,1,1]
        return (dark + (bright - dark) * light + shift * (warmth - 0.5)).transpose(1, 2)


def render(factors: Mapping[str, Tensor], size_px: int, with_masks: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    """Images of people from their causes.

    Args:
        factors: name -> [B], as CausalModel.draw gives them.
        with_masks: False is faster and returns no masks.
    Shapes: image float32 [B,3,H,W] on the grid k/255; masks bool [B,H,W]: the disjoint PARTS, and "label", where
        another hair colour would change a pixel.
    """
    n = len(factors["x"])
    step = max(1, PIXELS_AT_ONCE // size_px**2)
    groups = []
    for start in range(0, n, step):
        painter = Painter({k: t[start : start + step] for k, t in factors.items()}, size_px, with_masks)
        painter.background()
        painter.people()
        painter.extras()
        groups.append(painter.finish())
    if not groups:
        raise ValueError("render needs at least one person")
    if len(groups) == 1:
        return groups[0]
    return torch.cat([g[0] for g in groups]), {k: torch.cat([g[1][k] for g in groups]) for k in groups[0][1]}
