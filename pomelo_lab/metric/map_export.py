"""What publishing pipelines did to maps before they were scored, to measure what it does to the scores."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Export = Literal["none", "uint8"]


def exported(maps: Tensor, how: Export, channels: int) -> Tensor:
    """Maps [B,H,W], sums over channels, as a pipeline hands them on.

    uint8: the mean over channels times 255 cast to 8 bits without scaling, as the baseline script of the InputIBA code
        does: small positive values
    are cut to few levels, negative ones come back from above (-1/255 as 255/255).
    """
    if how == "none":
        return maps
    levels = (maps.double() / channels * 255).nan_to_num().trunc().long() % 256
    return (levels.double() / 255).to(maps.dtype).where(maps.isfinite(), maps)
