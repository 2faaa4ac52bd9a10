"""The number of portraits that are rendered per second."""

from __future__ import annotations

from pomelo_lab.bench.row import Row
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside


def compare(setting: Setting, n_images: int = 256) -> list[Row]:
    """Measures rendering with all masks, as `Portraits.batch` does it, and rendering without masks."""
    data, indices = setting.dataset, range(n_images)
    works = {
        "with masks": lambda: data.batch(indices),
        "without masks": lambda: data.render(data.factors(indices), with_masks=False),
    }
    for work in works.values():
        work()
    runs = Inside().paired(works, setting.repeats)
    size = f"{setting.size_px}x{setting.size_px}"
    return [
        Row(
            f"portraits {name}",
            tuple(n_images / r.total.wall for r in repeats),
            "images/s",
            tuple(n_images / r.total.cpu for r in repeats),
            note=f"{n_images} of {size} at once",
        )
        for name, repeats in runs.items()
    ]
