"""Depth maps of sensors and other people's files: which 16-bit values are no distances, and which maps can't be right.

Nothing is repaired. A map that looks wrong is named with what it looks like, since all that is wrong is often the byte
order, the unit, or bits that a program has rotated and its reader must rotate back (as in SUN3D).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SENTINEL = 65535
"""The largest 16-bit value: like 0, it stands for "nothing measured"."""
DOUBTFUL = "implausible depth maps"
"""How the warnings of a clip call maps that `doubtful_depth` finds."""
USUAL = (0.1, 50.0)
"""Metres between which the median of a depth map lies."""
TYPICAL = 2.0
"""Metres; the unit that brings a median closest to this is the one that was probably meant."""
UNITS = {
    1000.0: "millimetres read as metres",
    100.0: "centimetres read as metres",
    10.0: "millimetres read as centimetres",
    0.1: "centimetres read as millimetres",
    0.01: "metres read as centimetres",
    0.001: "metres read as millimetres",
}
"""Factor of a wrong unit -> what was confused."""
LEAST_KNOWN = 0.02
"""Share of pixels with depth below which a map is hardly one."""
SPIKE, OUTLIER = 6.0, 9.0
"""Factors between a map's median and those of its neighbours, or of the whole clip, that no camera's path explains."""
NOISE = 0.1
"""Roughness of a map whose pixels have nothing to do with their neighbours. Recordings have 0.0003 to 0.01."""
SMOOTHER = 4.0
"""How much smoother another reading of the bits must be to be the right one; it is 10 to 40 times smoother."""
ROUGH = 0.002
"""Roughness below which no other reading of the bits is tried."""
ENOUGH = 64
"""Pairs of pixels, or different values, below which nothing is concluded."""
LINES = 64
"""Rows and columns of a map that are looked at."""


def known_depth(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return (H, W) uint16 depth with 0 where nothing was measured: there the file has 0 or the largest value."""
    return np.where(values == SENTINEL, np.uint16(0), values)


def doubtful_depth(depth: NDArray[np.float32], *, step: float | None, metres: bool) -> list[str]:
    """Return for each map of a clip what it looks like if it can't be right, "" where nothing is wrong with it.

    Args:
        depth: (G, H, W) in order of time, 0 = unknown.
        step: length of one step of the 16-bit values that it was read from; None if it was not, or has been rounded.
        metres: whether lengths are metres; otherwise only shapes and ratios say something.
    """
    shares = np.array([float((image > 0).mean()) for image in depth])
    medians = np.array([_median(image) for image in depth])
    rough = [roughness(image) for image in depth]
    return [
        (_bits(image, step, rough[i]) if step is not None else "")
        or _share(shares, i)
        or (_unit(medians[i]) if metres else "")
        or _jump(medians, i)
        or ("neighbouring pixels differ as in noise" if rough[i] > NOISE else "")
        for i, image in enumerate(depth)
    ]


def _median(image: NDArray[np.float32]) -> float:
    """Return the median of the known pixels, of some rows of a large map; NaN if there are none."""
    known = image[:: max(1, image.shape[0] // LINES)]
    known = known[known > 0]
    return float(np.median(known)) if known.size else float("nan")


def roughness(image: NDArray[Any]) -> float:
    """Return the mean relative difference of neighbouring known pixels, the largest fifth (edges) left out.

    Args:
        image: (H, W), 0 = unknown. Of large maps some rows and columns count.
    """
    rows = image[:: max(1, image.shape[0] // LINES)].astype(np.float32)
    columns = image[:, :: max(1, image.shape[1] // LINES)].astype(np.float32)
    differences = []
    for one, other in ((rows[:, 1:], rows[:, :-1]), (columns[1:], columns[:-1])):
        both = (one > 0) & (other > 0)
        a, b = one[both], other[both]
        differences.append(np.abs(a - b) / np.maximum(a, b))
    found = np.concatenate(differences)
    if found.size < ENOUGH:
        return 0.0
    count = int(0.8 * found.size)
    return float(np.partition(found, count - 1)[:count].mean())


def _bits(image: NDArray[np.float32], step: float, rough: float) -> str:
    """What the 16-bit values of a map look like: another reading of their bits is far smoother, or three are unused."""
    values = np.clip(np.rint(image / np.float32(step)), 0, SENTINEL).astype(np.uint16)
    if rough > ROUGH:
        others = {"byte-swapped": values.byteswap(), "rotated by 3 bits": _rotated(values, 3)}
        name, least = min(((name, roughness(other)) for name, other in others.items()), key=lambda pair: pair[1])
        if least * SMOOTHER < rough:
            return f"values look {name}"
    known = values[values > 0]
    multiples = known % 8 == 0
    if known.size and multiples.mean() > 0.95 and np.unique(known[multiples]).size >= ENOUGH:
        return "values are multiples of 8, as if rotated by 3 bits (SUN3D)"
    return ""


def _rotated(values: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    wide = values.astype(np.uint32)
    return (wide << bits | wide >> (16 - bits)).astype(np.uint16)


def _share(shares: NDArray[np.float64], i: int) -> str:
    if shares[i] >= LEAST_KNOWN or not (shares > 0).any():
        return ""
    return f"less than {LEAST_KNOWN:.0%} of its pixels have depth"


def _unit(median: float) -> str:
    if np.isnan(median) or USUAL[0] <= median <= USUAL[1]:
        return ""
    factor = min(UNITS, key=lambda factor: abs(np.log(median / factor / TYPICAL)))
    return f"values look like {UNITS[factor]}"


def _jump(medians: NDArray[np.float64], i: int) -> str:
    others = np.delete(medians, i)
    others = others[~np.isnan(others)]
    if np.isnan(medians[i]) or others.size < 2:
        return ""
    before, after = medians[:i], medians[i + 1 :]
    beside = np.concatenate([before[~np.isnan(before)][-1:], after[~np.isnan(after)][:1]])
    spike = medians[i] > SPIKE * beside.max() or medians[i] * SPIKE < beside.min()
    typical = float(np.median(others))
    outlier = medians[i] > OUTLIER * typical or medians[i] * OUTLIER < typical
    if not (spike or outlier):
        return ""
    return f"values are far {'larger' if medians[i] > typical else 'smaller'} than in other frames: another unit?"
