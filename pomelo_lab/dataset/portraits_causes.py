"""The causal model of portraits as data: CAUSES (dependencies and rates) and ATTRIBUTES.

The groups `person` and `style` determine the identity. The groups `expression`, `pose` and `scene` are nuisance.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from pomelo_lab.dataset.causal_model import ANY, Cause, choice, level, uniform_causes

HAIR_COLORS = ("blond", "black", "gray", "brown", "bald")
# fmt: off
CAUSES: tuple[Cause, ...] = (
    # the person
    choice("male", "person", ("female", "male"), (0.52, 0.48)),
    level("age", "person", {"young": 0.45, "middle": 0.7, "old": 1.0}, (0.50, 0.27, 0.23)),
    level("skin", "person", {"pale": 0.2, "light": 0.5, "tan": 0.75, "deep": 1.0}, (0.26, 0.38, 0.20, 0.16)),
    level("jaw", "person", {"narrow": 0.5, "wide": 1.0}, {("female",): (0.75, 0.25), ("male",): (0.25, 0.75)},
          ["male"]),
    level("fullness", "person", {"lean": 0.65, "chubby": 1.0}, {("young",): (0.88, 0.12), (ANY,): (0.76, 0.24)},
          ["age"]),
    level("nose_width", "person", {"small": 0.6, "big": 1.0}, {("female",): (0.88, 0.12), ("male",): (0.65, 0.35)},
          ["male"]),
    level("lip_fullness", "person", {"thin": 0.6, "big": 1.0}, {("female",): (0.65, 0.35), ("male",): (0.82, 0.18)},
          ["male"]),
    choice("eye_color", "person", ("brown", "blue", "green", "hazel"),
           {("pale",): (0.30, 0.38, 0.20, 0.12), ("light",): (0.45, 0.27, 0.13, 0.15), (ANY,): (0.82, 0.04, 0.04,
           0.10)}, ["skin"]),
    *uniform_causes("person", 0, 1, "face_width", "eye_distance", "nose_length", "brow_shape"),
    level("brow_thickness", "person", {"thin": 0.55, "bushy": 1.0}, {("female",): (0.88, 0.12), ("male",): (0.55,
          0.45)}, ["male"]),
    # hair: the label is hair_color
    choice("hair_color", "style", HAIR_COLORS, {
        ("female", "young"): (0.315, 0.270, 0.020, 0.385, 0.010),
        ("female", "middle"): (0.280, 0.240, 0.100, 0.365, 0.015),
        ("female", "old"): (0.150, 0.090, 0.600, 0.140, 0.020),
        ("male", "young"): (0.195, 0.335, 0.020, 0.330, 0.120),
        ("male", "middle"): (0.140, 0.220, 0.120, 0.220, 0.300),
        ("male", "old"): (0.060, 0.070, 0.410, 0.090, 0.370)}, ["male", "age"]),
    choice("hair_length", "style", ("short", "medium", "long"),
           {("female",): (0.14, 0.34, 0.52), ("male",): (0.84, 0.11, 0.05)}, ["male"]),
    choice("hair_style", "style", ("side", "center", "fringe", "swept", "curly"),
           {("female",): (0.26, 0.24, 0.24, 0.08, 0.18), ("male",): (0.36, 0.06, 0.14, 0.30, 0.14)}, ["male"]),
    *uniform_causes("style", 0, 1, "hair_light", "hair_warmth", "hair_volume", "hair_phase"),
    *uniform_causes("style", -1, 1, "hair_parting"),
    choice("facial_hair_color", "style", ("fair", "brown", "dark", "gray"), {
        ("blond",): (0.50, 0.38, 0.10, 0.02), ("black",): (0.02, 0.20, 0.76, 0.02), ("gray",): (0.06, 0.16, 0.24, 0.54),
        ("brown",): (0.08, 0.62, 0.28, 0.02), ("bald",): (0.15, 0.35, 0.35, 0.15)}, ["hair_color"]),
    choice("beard", "style", ("none", "mustache", "goatee", "full"), {
        ("female", ANY): (0.997, 0.001, 0.001, 0.001), ("male", "young"): (0.66, 0.07, 0.11, 0.16),
        ("male", ANY): (0.54, 0.13, 0.11, 0.22)}, ["male", "age"]),
    choice("lipstick", "style", ("none", "red", "pink", "plum"),
           {("female",): (0.36, 0.28, 0.24, 0.12), ("male",): (0.985, 0.005, 0.005, 0.005)}, ["male"]),
    choice("earrings", "style", ("none", "stud", "hoop"), {
        ("female", "none"): (0.78, 0.14, 0.08), ("female", ANY): (0.48, 0.26, 0.26), ("male", ANY): (0.95, 0.04, 0.01)},
           ["male", "lipstick"]),
    level("blush", "style", {"low": 0.6, "rosy": 1.0}, {("none",): (0.93, 0.07), (ANY,): (0.62, 0.38)}, ["lipstick"]),
    choice("glasses", "style", ("none", "round", "square", "sun"), {
        ("young",): (0.84, 0.06, 0.06, 0.04), ("middle",): (0.76, 0.09, 0.11, 0.04), ("old",): (0.60, 0.16, 0.21,
        0.03)}, ["age"]),
    choice("hat", "style", ("none", "cap", "beanie", "brim"), {
        ("female", "young"): (0.88, 0.03, 0.05, 0.04), ("female", ANY): (0.90, 0.02, 0.02, 0.06),
        ("male", "young"): (0.80, 0.10, 0.07, 0.03), ("male", ANY): (0.85, 0.05, 0.03, 0.07)}, ["male", "age"]),
    choice("shirt", "style", ("crew", "vneck", "collar", "tie"), {
        ("female", ANY): (0.48, 0.36, 0.15, 0.01), ("male", "young"): (0.54, 0.14, 0.22, 0.10),
        ("male", ANY): (0.32, 0.10, 0.33, 0.25)}, ["male", "age"]),
    *uniform_causes("style", 0, 1, "shirt_hue", "shirt_chroma", "shirt_light", "trim_hue", "hat_hue", "hat_chroma",
                    "hat_light", "frame_light"),
    # the moment
    level("smile", "expression", {"serious": 0.3, "slight": 0.5, "soft": 0.7, "broad": 1.0},
          {("female",): (0.38, 0.08, 0.10, 0.44), ("male",): (0.50, 0.10, 0.10, 0.30)}, ["male"]),
    level("mouth_open", "expression", {"closed": 0.4, "open": 1.0},
          {("serious",): (0.80, 0.20), ("slight",): (0.80, 0.20), (ANY,): (0.34, 0.66)}, ["smile"]),
    level("eye_open", "expression", {"narrow": 0.3, "wide": 1.0},
          {("soft",): (0.20, 0.80), ("broad",): (0.26, 0.74), (ANY,): (0.10, 0.90)}, ["smile"]),
    *uniform_causes("expression", -1, 1, "gaze", "brow_raise"),
    # the picture
    *uniform_causes("pose", -0.13, 0.13, "x"),
    *uniform_causes("pose", -0.06, 0.07, "y"),
    *uniform_causes("pose", 0.56, 0.70, "scale"),
    *uniform_causes("pose", -0.14, 0.14, "tilt"),
    choice("background", "scene", ("plain", "gradient", "stripes", "dots"), (0.20, 0.40, 0.20, 0.20)),
    *uniform_causes("scene", 0, 1, "background_hue", "background_chroma", "background_light", "background_shift",
          "background_phase"),
    *uniform_causes("scene", -1, 1, "background_slope", "light_x", "light_warmth"),
    *uniform_causes("scene", 0, 1, "light_strength", "exposure"),
)

# attribute -> the states that it requires, all of them
ATTRIBUTES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Male": {"male": ("male",)},
    "Young": {"age": ("young",)},
    "Pale_Skin": {"skin": ("pale",)},
    "Chubby": {"fullness": ("chubby",)},
    "Big_Nose": {"nose_width": ("big",)},
    "Big_Lips": {"lip_fullness": ("big",)},
    "Bushy_Eyebrows": {"brow_thickness": ("bushy",)},
    "Blond_Hair": {"hair_color": ("blond",)},
    "Black_Hair": {"hair_color": ("black",)},
    "Gray_Hair": {"hair_color": ("gray",)},
    "Brown_Hair": {"hair_color": ("brown",)},
    "Bald": {"hair_color": ("bald",)},
    "Long_Hair": {"hair_length": ("long",), "hair_color": HAIR_COLORS[:4]},
    "Bangs": {"hair_style": ("fringe",), "hair_color": HAIR_COLORS[:4]},
    "Wavy_Hair": {"hair_style": ("curly",), "hair_color": HAIR_COLORS[:4]},
    "Beard": {"beard": ("goatee", "full")},
    "Mustache": {"beard": ("mustache", "goatee", "full")},
    "Wearing_Lipstick": {"lipstick": ("red", "pink", "plum")},
    "Wearing_Earrings": {"earrings": ("stud", "hoop")},
    "Rosy_Cheeks": {"blush": ("rosy",)},
    "Eyeglasses": {"glasses": ("round", "square", "sun")},
    "Wearing_Hat": {"hat": ("cap", "beanie", "brim")},
    "Wearing_Necktie": {"shirt": ("tie",)},
    "Smiling": {"smile": ("soft", "broad")},
    "Mouth_Slightly_Open": {"mouth_open": ("open",)},
    "Narrow_Eyes": {"eye_open": ("narrow",)},
}
MARK = {"Mark": {"mark": ("present",)}}  # an attribute where marks are planted
CLASS_ATTRIBUTES = dict(zip(HAIR_COLORS, ("Blond_Hair", "Black_Hair", "Gray_Hair", "Brown_Hair", "Bald"), strict=True))
# fmt: on


def mark_cause(attribute: str | None, rate: float) -> Cause:
    """The spurious mark: present with `rate` where `attribute` holds and 1 - rate in all other images. Without an
    attribute there are no marks."""
    states = ("absent", "present")
    if attribute is None:
        return choice("mark", "scene", states, (1.0, 0.0))
    wanted = ATTRIBUTES[CLASS_ATTRIBUTES.get(attribute, attribute)]
    domains, rates = {c.name: c.states for c in CAUSES}, {}
    for key in itertools.product(*(domains[parent] for parent in wanted)):
        p_mark = (
            rate if all(state in allowed for state, allowed in zip(key, wanted.values(), strict=True)) else 1 - rate
        )
        rates[key] = (1 - p_mark, p_mark)
    return choice("mark", "scene", states, rates, tuple(wanted))
