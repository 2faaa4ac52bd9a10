"""The manifest of exported explanations: manifest.json, which `python -m pomelo_lab.export` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SCHEMA = 1  # raised when a key changes its meaning


def write_manifest(folder: Path, about: Mapping[str, Any], images: list[dict[str, Any]]) -> Path:
    """Writes the manifest of a folder.

    Args:
        about: what made the explanations: fingerprint, classes, ...
        images: a row for each image: "image_id", "target", "attribution" and "counterfactual" (files below the folder),
            "numbers" (name -> value, None for NaN), and the names of its pictures.
    """
    from pomelo_lab.files import write_text

    path = folder / MANIFEST
    write_text(path, json.dumps({"schema": SCHEMA, **about, "images": images}, indent=1, allow_nan=False) + "\n")
    return path


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads a manifest. Raises: ValueError for a file that is none, or that a newer version has written."""
    try:
        content = json.loads(path.read_bytes())
    except (UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int):
        raise ValueError(f"{path} is no manifest of explanations: it has no schema number")
    if schema > SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads up to {SCHEMA}: install a newer pomelo_lab")
    images = content.get("images")
    if not isinstance(images, list) or not all(isinstance(row, dict) and "image_id" in row for row in images):
        raise ValueError(f"{path} must list images, each with image_id")
    return content
