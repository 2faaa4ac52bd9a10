"""The geometry of portraits: the location of each part, as anti-aliased coverage on the pixel grid.

The arithmetic and the units are those of `portraits_scene`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.dataset.portraits_scene import Scene, bump, edge, ellipse, ramp, ring, wave

# how each hair style shapes the hairline: slant of the parting, height of a centre peak, lower edge of a fringe
# (None: no fringe), lift above the forehead, waviness of the outline
HAIR_STYLES = {
    "side": (0.34, 0.00, None, 0.02, 0.00),
    "center": (0.00, 0.42, None, 0.00, 0.00),
    "fringe": (0.00, 0.00, -0.30, 0.02, 0.00),
    "swept": (0.10, 0.00, None, 0.11, 0.00),
    "curly": (0.12, 0.00, None, 0.05, 1.00),
}
HAIR_END = (0.20, 0.80, 1.50)  # v where short, medium, long hair ends
HAT_BRIM = -0.46  # v of the lower edge of every hat: hair and scalp at the temples stay visible
EYE_V, BROW_V, MOUTH_V = -0.02, -0.27, 0.56


def head(s: Scene) -> tuple[Tensor, Tensor]:
    """Coverage of the head and its normalised radius squared (0 centre, 1 outline)."""
    taper = 1 - (0.34 - 0.14 * s["jaw"] - 0.10 * s["fullness"]) * ramp(s.v, -0.05, 1.10)
    x = s.u / (s.width * taper)
    square = x * x + s.v * s.v
    return edge(ring(square.sqrt(), 0.85), s.px), square


def ears(s: Scene) -> Tensor:
    """Coverage of both ears."""
    x, y = (s.abs_u - s.width * 0.985) / 0.105, (s.v - 0.06) / 0.19
    return edge(ring((x * x + y * y).sqrt(), 0.13), s.px)


def hair_outline(s: Scene) -> tuple[Tensor, Tensor]:
    """Normalised radius of the hair dome (1 on the outline, vertical below v = 0) and the lower end of the hair."""
    curl = s.pick("hair_style", tuple(row[4] for row in HAIR_STYLES.values()))
    lift = s.pick("hair_style", tuple(row[3] for row in HAIR_STYLES.values()))
    length = s["hair_length"]
    volume = 0.07 + 0.11 * s["hair_volume"] + 0.06 * curl
    flare = 0.10 * (length >= 1).float() * ramp(s.v, -0.2, 0.9)
    x = s.u / (s.width + volume * 0.85 + flare)
    y = (s.v + 0.05).clamp(max=0) / (0.98 + volume + lift)
    curls = curl * 0.045 * (wave(s.v * 2.1 + s["hair_phase"]) + wave(s.u * 2.3 - s["hair_phase"]))
    end = s.pick("hair_length", HAIR_END) + 0.14 * s["hair_volume"] * (length >= 1).float()
    tips = 0.022 * wave(s.u * 5.3 + s["hair_phase"]) + 0.02 * wave(s.u * 2.1 - s["hair_phase"])
    return (x * x + y * y).sqrt() + curls, end + tips * (length >= 1).float() - 0.10 * x * x + 0.5 * curls


def hair(s: Scene, ear: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coverage of the hair behind and in front of the head, and of the shadow that the front hair casts."""
    radius, end = hair_outline(s)
    dome = edge(ring(radius, 0.85), s.px)
    below = edge(s.v - end, s.px)
    columns = list(zip(*HAIR_STYLES.values(), strict=True))
    slant, peak = s.pick("hair_style", columns[0]), s.pick("hair_style", columns[1])
    fringe = s.pick("hair_style", tuple(2.0 if v is None else v for v in columns[2]))
    lift, curl = s.pick("hair_style", columns[3]), s.pick("hair_style", columns[4])
    short = (s["hair_length"] == 0).float()
    side = torch.where(s["hair_parting"] < 0, -1.0, 1.0)
    across = s.u * side
    y = (s.v - 0.30 - slant * (across + 0.15) - peak * s.abs_u + 0.3 * peak).clamp(max=0) / (0.90 + lift * 0.8)
    ragged = curl * 0.05 * wave(s.u * 3.1 + s["hair_phase"])
    x = s.u / (s.width * (0.80 + 0.07 * short))
    window = (x * x + y * y).sqrt() + ragged
    cut = fringe + 0.025 * wave(s.u * 2.9 + s["hair_phase"]) - 0.06 * s.u * s.u
    open_face = edge(ring(window, 0.80), s.px)
    has_fringe = (fringe < 1).float()
    open_face = open_face * (1 - has_fringe * edge(s.v - cut, s.px))
    front = dome * (1 - open_face) * below * (1 - ear * short)
    shadow = (bump(window - 0.98, 0.16) * 0.8 * (1 - has_fringe) + has_fringe * bump(s.v - cut, 0.14)) * ramp(
        s.v, 0.5, -0.1
    )
    return dome * below * (1 - short), front, shadow


def strands(s: Scene) -> tuple[Tensor, Tensor]:
    """Brightness of the hair: strands that run from the parting, and a band of gloss across the dome."""
    du = s.u - 0.35 * s["hair_parting"]
    fan = du / (du.abs() + 0.55 * (s.v + 1.2).clamp(0.0, 1.0) + 0.12)
    curl = s.pick("hair_style", tuple(row[4] for row in HAIR_STYLES.values()))
    bend = (0.05 + 0.22 * curl) * wave(s.v * (0.5 + curl) + s["hair_phase"])
    q = fan * 3.1 + bend
    light = (
        0.92
        + 0.10 * wave(q + s["hair_phase"])
        + 0.08 * wave(q * 2.3 + 3 * s["hair_phase"])
        - 0.14 * ramp(s.v, -0.3, 1.2)
    )
    band = s.v + 0.78 - 0.35 * s.u * s.u - 0.15 * s["light_x"] * s.u
    gloss = bump(band + 0.05 * wave(q * 1.7), 0.20) * (0.75 + 0.4 * s["light_x"] * s.u)
    return light, gloss


def eyes(s: Scene) -> dict[str, Tensor]:
    """Coverage of the parts of both eyes: lash, white, iris, pupil, glint."""
    centre = 0.31 + 0.05 * s["eye_distance"]
    sign = torch.where(s.u < 0, -1.0, 1.0)
    a, b = s.abs_u - centre, s.v - EYE_V
    height = 0.055 + 0.065 * s["eye_open"]
    lid = height * (1 - (a / 0.185).square_())
    white = edge((b.abs() - lid) * 0.85, s.px)
    lash = edge(((b + lid + 0.012).abs() - 0.030), s.px) * edge(a.abs() - 0.20, s.px)
    ai = a - sign * s["gaze"] * 0.055
    square = ai * ai + b * b
    iris = edge((square * (1 / 0.098)) - 0.098, 2 * s.px) * white
    pupil = edge((square * (1 / 0.046)) - 0.046, 2 * s.px) * white
    g, h = ai - sign * 0.035, b + 0.035
    glint = edge(((g * g + h * h) * (1 / 0.030)) - 0.030, 2 * s.px) * white
    return {"lash": lash, "white": white, "iris": iris, "pupil": pupil, "glint": glint}


def brows(s: Scene) -> Tensor:
    """Coverage of both brows."""
    a = s.abs_u - 0.335
    arch = (0.15 + 0.9 * s["brow_shape"]) * a * a + (0.10 - 0.16 * s["brow_shape"]) * a
    thick = (0.028 + 0.050 * s["brow_thickness"]) * (1 - 0.75 * (a * 4.4).square_())
    b = (s.v - (BROW_V - 0.04 * s["brow_raise"]) - arch).abs() - thick
    return edge(torch.maximum(b, a.abs() - 0.21), s.px)


def nose(s: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Coverage of the nose and of the nostrils, and its shading in [-1, 1] (lit side, shaded side)."""
    tip = 0.24 + 0.07 * s["nose_length"]
    bulb = 0.085 + 0.075 * s["nose_width"]
    half = 0.035 + (bulb - 0.035) * ramp((s.v + 0.05) / (tip + 0.05), 0.25, 1.0)
    x, y = s.abs_u / half, (s.v - tip).clamp(min=0) / 0.085
    shape = edge(torch.maximum(ring((x * x + y * y).sqrt(), bulb), -0.08 - s.v), s.px)
    nx, ny = (s.abs_u - bulb * 0.55) / 0.042, (s.v - tip - 0.045) / 0.028
    nostril = edge(ring((nx * nx + ny * ny).sqrt(), 0.032), s.px)
    return shape, nostril, (s.u * 7).clamp(-1, 1)


def mouth(s: Scene) -> dict[str, Tensor]:
    """Coverage of the mouth (lips and inside), of its inside, of the teeth, and of the line between closed lips."""
    half = 0.20 + 0.10 * s["smile"]
    t = s.u / half
    t2 = t * t
    b = s.v - MOUTH_V + (0.23 * s["smile"] - 0.06) * (t2 - 0.4)
    q = (1 - t2).clamp(min=0)
    gap = 0.16 * (s["mouth_open"] - 0.25).clamp(min=0) * q
    upper, lower = (0.030 + 0.030 * s["lip_fullness"]) * q, (0.038 + 0.045 * s["lip_fullness"]) * q
    outside = t.abs() - 1
    lips = edge(
        torch.maximum(torch.maximum(-b - upper - 0.4 * gap - 0.012, b - lower - 0.9 * gap - 0.012), outside * half),
        s.px,
    )
    inside = edge(torch.maximum(-b - 0.4 * gap, b - 0.9 * gap), s.px) * (gap > 0).float() * lips
    teeth = inside * edge(b - 0.25 * gap, s.px)
    line = edge(b.abs() - 0.016, s.px) * lips * (1 - inside)
    return {"lips": lips, "inside": inside, "teeth": teeth, "line": line}


def beard(s: Scene, head_cover: Tensor) -> Tensor:
    """Coverage of moustache, goatee or full beard."""
    x = s.u / s.width
    full = edge(0.36 - 0.36 * x * x - s.v, 2 * s.px)
    gx, gy = s.u / 0.27, (s.v - 0.80) / 0.26
    goatee = edge(ring((gx * gx + gy * gy).sqrt(), 0.26), s.px)
    arch = s.v - 0.425 - 0.5 * s.u * s.u
    moustache = edge(torch.maximum(arch.abs() - 0.055, s.abs_u - 0.29), s.px)
    chin = s.is_("beard", 3) * full + s.is_("beard", 2) * goatee
    return torch.maximum(chin, moustache) * head_cover


def wrinkles(s: Scene) -> Tensor:
    """Darkening of the skin by age in [0, 1]: forehead lines, bags, crow's feet, folds next to the mouth."""
    depth = 0.6 * ramp(s["age"], 0.40, 0.60) + 0.4 * ramp(s["age"], 0.55, 1.0)
    forehead = bump(wave(s.v * 7.5 + 0.06 * s.u) - 1, 0.5) * bump(s.v + 0.46, 0.17) * bump(s.u, 0.55)
    a = s.abs_u - 0.33
    bags = bump(s.v - 0.135 + 0.9 * a * a, 0.045) * bump(a, 0.20)
    feet = bump(wave(s.v * 9 + s.abs_u * 2) - 1, 0.6) * bump(a - 0.25, 0.07) * bump(s.v - 0.02, 0.14)
    fold = bump(s.abs_u - 0.13 - 0.5 * (s.v - 0.28), 0.045) * bump(s.v - 0.46, 0.22)
    return depth * (forehead * 0.7 + bags * 0.8 + feet * 0.6 + fold).clamp_(0, 1)


def glasses(s: Scene) -> tuple[Tensor, Tensor]:
    """Coverage of the frame (with bridge and temples) and of the lenses."""
    square = s.is_("glasses", 2)
    sun = s.is_("glasses", 3)
    x, y = (s.abs_u - 0.335) / 0.255, (s.v - 0.00) / (0.215 - 0.03 * square)
    rounded = x * x + y * y
    boxy = rounded * rounded - 2 * (x * y).square_() * 0.95  # towards x^4 + y^4
    k = torch.where((square + sun) > 0, boxy.clamp(min=0).sqrt().sqrt(), rounded.sqrt())
    d = ring(k, 0.235)
    thick = 0.026 + 0.008 * square
    lens = edge(d, s.px)
    rim = edge(d.abs() - thick, s.px)
    bridge = edge(torch.maximum((s.v + 0.03 - 0.6 * s.u * s.u).abs() - thick * 0.9, s.abs_u - 0.10), s.px)
    temple = edge(
        torch.maximum((s.v + 0.05).abs() - thick * 0.9, torch.maximum(0.58 - s.abs_u, s.abs_u - s.width)), s.px
    )
    return torch.maximum(rim, torch.maximum(bridge, temple)), lens


def earrings(s: Scene) -> Tensor:
    """Coverage of studs or hoops below the ears."""
    hoop = s.is_("earrings", 2)
    x, y = s.abs_u - s.width * 0.99, s.v - 0.29 - 0.09 * hoop
    r = (x * x + y * y).sqrt()
    return edge(hoop * ((r - 0.095).abs() - 0.030) + (1 - hoop) * (r - 0.058), s.px)


def hat(s: Scene) -> tuple[Tensor, Tensor]:
    """Coverage of a hat and of its second tone (visor, folded band, ribbon)."""
    cap, beanie, brim = (s.is_("hat", i) for i in (1, 2, 3))
    volume = 0.10 + 0.11 * s["hair_volume"]
    x, y = s.u / (s.width + 0.06 + volume * 0.85), (s.v - HAT_BRIM).clamp(max=0) / (0.72 + volume)
    # a squarer crown for the brimmed hat
    square = x * x + y * y
    k = torch.where(brim > 0, (square * square - 1.2 * (x * y).square_()).clamp(min=0).sqrt().sqrt(), square.sqrt())
    crown = torch.maximum(ring(k, 0.85), s.v - HAT_BRIM)
    side = torch.where(s["hair_parting"] < 0, -1.0, 1.0)
    visor = ellipse(s.u - 0.30 * side, s.v - HAT_BRIM + 0.02, s.width * 1.02, 0.12)
    wide = ellipse(s.u, s.v - HAT_BRIM + 0.05 + 0.05 * s.u * s.u, s.width * 1.62, 0.115)
    pom = ellipse(s.u, s.v - HAT_BRIM + 0.74 + volume, torch.full_like(volume, 0.17), 0.15)
    extra = torch.where(cap > 0, visor, torch.where(brim > 0, wide, pom))
    whole = edge(torch.minimum(crown, extra), s.px)
    band = edge(torch.maximum(crown, HAT_BRIM - 0.20 - s.v), s.px)
    second = (
        cap * edge(visor, s.px) + beanie * torch.maximum(band, edge(pom, s.px)) + brim * band * (1 - edge(wide, s.px))
    )
    return whole, second * whole


def body(s: Scene) -> dict[str, Tensor]:
    """Coverage of neck, clothes, their collar or tie, and the shadow under the chin."""
    u, v = s.body_u, s.body_v
    neck_half = 0.30 + 0.06 * s["jaw"] + 0.05 * s["fullness"]
    au = u.abs()
    neck = edge(torch.maximum(au - neck_half - 0.25 * (v - 1.05).clamp(min=0), 0.3 - v), s.px)
    top = 1.17 + 0.13 * u * u + 0.9 * (au - 1.05).clamp(min=0).square_()
    vneck, buttoned = s.is_("shirt", 1), (s["shirt"] >= 2).float()
    depth = 0.16 + 0.36 * vneck + 0.12 * buttoned
    round_neck = ((u / 0.46).square_() + (v - 1.1).square_() * 16).sqrt() - 1
    hole = torch.where(vneck + buttoned > 0, v - 1.16 - depth * (1 - au / 0.46), round_neck)
    shirt = edge(torch.maximum(top - v, -torch.maximum(hole, au - 0.46) * 0.6), s.px)
    flap = edge(((v - 1.17) * 0.9 - 0.34 * (0.62 - au)).abs() - 0.10, s.px) * edge(au - 0.55, s.px)
    rim = edge(hole.abs() * 0.6 - 0.055, s.px) * edge(au - 0.52, s.px)
    trim = torch.where(buttoned > 0, flap, rim) * edge(top - 0.10 - v, s.px)
    tie = edge(torch.maximum(au - 0.06 - 0.12 * (v - 1.30).clamp(min=0), 1.26 - v), s.px) * s.is_("shirt", 3)
    shade = 1 - 0.42 * ramp(v, 1.40, 0.75)
    return {
        "neck": neck,
        "shirt": torch.maximum(shirt, torch.maximum(trim * 0.999, tie)),
        "trim": trim,
        "tie": tie,
        "shade": shade,
    }


def backdrop(s: Scene) -> Tensor:
    """Mixing weight in [0,1] between the two background colours."""
    x, y, slope, phase = s.frame_x, s.frame_y, s["background_slope"], s["background_phase"]
    along = (x * slope + y * (1 - slope.abs())) / (slope * slope + (1 - slope.abs()).square_()).sqrt()
    gradient = (along * 0.5 + 0.5).clamp(0, 1)
    stripes = (wave(along * (1.2 + 1.4 * phase) + phase) * 3 + 0.5).clamp(0, 1)
    freq = 1.6 + 1.4 * phase
    cell_x, cell_y = x * freq + phase, y * freq + slope
    cx, cy = cell_x - cell_x.floor() - 0.5, cell_y - cell_y.floor() - 0.5
    dots = (1.5 - (cx * cx + cy * cy).sqrt() * 5).clamp(0, 1)
    kind = s["background"]
    return torch.where(
        kind == 1, gradient, torch.where(kind == 2, stripes, torch.where(kind == 3, dots, gradient * 0.15))
    )
