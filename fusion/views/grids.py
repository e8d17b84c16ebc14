"""Which array of each parent is fused, and on which grid."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs.errors import ConfigError, MissingError
from configs.loader import closest
from configs.names import read_source

Grid = tuple[int, int]

_TAPS = ("dit", "vae", "llm", "vision")
_FIRST_TAPS = {"dit", "llm"}
"""Taps that models are read at if none is named."""


def extract_command(source: str, dataset: str, array: ArraySpec | None = None, grid: str | None = None) -> str:
    """Return the command that makes features of a source, or adds a grid to those of an array."""
    words = []
    if array is not None and array.block is not None:
        words.append(f"layers={array.block}")
    if array is not None and array.tap not in _FIRST_TAPS and array.block is not None:
        words.append(f"tap={array.tap}")
    if array is not None and array.noise_level is not None:
        words.append(f"noise={noise_word(array.noise_level, array.extra.get('timestep'))}")
    if grid:
        words.append(f"grid={grid}")
    model, *options = read_source(source).options
    return " ".join(["python -m extract run", model, f"dataset={dataset}", *options, *words])


def noise_word(level: float, timestep: float | None) -> str:
    """Return what `noise=` of `extract` has to say to mean a stored level; a rounded one would be another level.

    Args:
        level: noise coefficient of the array.
        timestep: what the network was told, None if unknown. Only Open-Sora's continuous schedule has broken ones, and
            takes that number: its coefficient leaves a sliver of the latent out.
    """
    return repr(float(level if timestep is None or float(timestep).is_integer() else timestep))


def refill_command(parent: FeatureSource) -> str:
    """Return the command that makes the arrays of a source for clips that lack them; it leaves finished ones alone."""
    arrays = list(parent.arrays.values())
    blocks = sorted({array.block for array in arrays if array.block is not None})
    noisy = sorted({(a.noise_level, a.extra.get("timestep")) for a in arrays if a.noise_level is not None})
    taps = [tap for tap in dict.fromkeys(array.tap for array in arrays) if tap in _TAPS]
    options: dict[str, Iterable[object]] = {
        "tap": [] if set(taps) <= _FIRST_TAPS else taps,
        "layers": blocks,
        "noise": [noise_word(*level) for level in noisy],
        "grid": dict.fromkeys(f"{array.grid[0]}x{array.grid[1]}" for array in arrays),
    }
    words = [f"{key}={','.join(str(value) for value in values)}" for key, values in options.items() if values]
    return " ".join([extract_command(parent.source, parent.dataset), *words])


def parse_grid(text: str) -> Grid | None:
    """Return (rows, columns) of `17x30`, None for other words."""
    rows, cross, columns = text.partition("x")
    return (int(rows), int(columns)) if cross and rows.isdecimal() and columns.isdecimal() else None


def layer_arrays(parent: FeatureSource, layer: str) -> list[ArraySpec]:
    """Return the arrays of a parent that `layer` names: a block, an array, or `all`.

    Raises:
        MissingError: none; the message names the closest and the command that adds a block.
    """
    arrays = list(parent.arrays.values())
    fitting = [a for a in arrays if layer in ("all", a.name) or layer == str(a.block)]
    if not fitting:
        fix = closest(layer, [a.name for a in arrays])
        if layer.isdecimal() and any(a.block is not None for a in arrays):
            fix = f"{extract_command(parent.source, parent.dataset)} layers={layer}"
        raise MissingError(f"{parent.source} has no layer {layer!r}", where=parent.where, fix=fix)
    return fitting


def target_grid(text: str, parents: Sequence[FeatureSource], arrays: Sequence[Sequence[ArraySpec]]) -> Grid:
    """Return the grid on which branches meet.

    Args:
        text: `17x30`, `first`, `last`, or the name of a parent.
        parents: the sources.
        arrays: the arrays that come into question, per parent.

    Raises:
        ConfigError: no such parent, or the parent has several grids.
    """
    grid = parse_grid(text)
    if grid is not None:
        return grid
    places = {"first": 0, "last": len(parents) - 1} | {parent.source: i for i, parent in enumerate(parents)}
    if text not in places:
        raise ConfigError(f"can't read grid={text}", fix=f"write rows x columns, or {closest(text, places)}")
    grids = sorted({array.grid for array in arrays[places[text]]})
    if len(grids) != 1:
        found = ", ".join(f"{h}x{w}" for h, w in grids)
        raise ConfigError(f"{parents[places[text]].source} has several grids", found=found, fix="choose with grid=...")
    return grids[0]


def arrays_on(parent: FeatureSource, arrays: Iterable[ArraySpec], grid: Grid, upsample: str) -> list[ArraySpec]:
    """Return one array per tap, block and noise level: the best of its grids to come from.

    That is the target grid itself; else the model's own grid if it is finer, which is then averaged as the published
    protocol does; else the coarsest finer one; else the finest there is, which is interpolated if `upsample` allows.

    Raises:
        MissingError: the target grid is finer than what the store holds; the message names the command that adds it.
    """
    groups: dict[tuple[object, ...], list[ArraySpec]] = {}
    for array in arrays:
        groups.setdefault((array.tap, array.block, array.noise_level), []).append(array)
    return [_best(parent, group, grid, upsample) for group in groups.values()]


def _best(parent: FeatureSource, group: Sequence[ArraySpec], grid: Grid, upsample: str) -> ArraySpec:
    for array in group:
        if array.grid == grid:
            return array
    finer = [a for a in group if a.grid[0] >= grid[0] and a.grid[1] >= grid[1]]
    if finer:
        return min(finer, key=lambda a: (a.pooling != "none", a.grid))
    finest = max(group, key=lambda a: a.grid[0] * a.grid[1])
    if upsample == "always" or (upsample == "native" and finest.pooling == "none"):
        return finest
    height, width = grid
    stored = ",".join(f"{a.grid[0]}x{a.grid[1]}" for a in group)
    raise MissingError(
        f"{parent.source} has no features on grid {height}x{width}, nor on a finer one",
        found=f"{finest.name}, {finest.pooling}" if finest.pooling != "none" else finest.name,
        where=parent.where,
        fix=f"{extract_command(parent.source, parent.dataset, finest, f'{stored},{height}x{width}')} adds it; "
        "or choose grid=, or interpolate with upsample=always",
    )


def combinations(
    parents: Sequence[FeatureSource], layers: Sequence[str], grid_text: str, upsample: str
) -> tuple[Grid, list[tuple[ArraySpec, ...]]]:
    """Return the target grid and all combinations of parent arrays to fuse.

    Args:
        parents: the sources.
        layers: for each parent a block, an array name or `all`; empty for all.
        grid_text: see `target_grid`.
        upsample: see `fusion.recipe.UPSAMPLING`.

    Raises:
        ConfigError: not one layer per parent.
        MissingError: see `layer_arrays` and `arrays_on`.
    """
    chosen = list(layers) or ["all"] * len(parents)
    if len(chosen) != len(parents):
        raise ConfigError(
            "layers takes one entry per model",
            expected=", ".join(parent.source for parent in parents),
            found=",".join(chosen),
            fix="write for example layers=21,22, or all for each",
        )
    arrays = [layer_arrays(parent, layer) for parent, layer in zip(parents, chosen, strict=True)]
    grid = target_grid(grid_text, parents, arrays)
    best = [arrays_on(parent, found, grid, upsample) for parent, found in zip(parents, arrays, strict=True)]
    return grid, list(itertools.product(*best))


def fused_name(arrays: Sequence[ArraySpec], grid: Grid) -> str:
    """Return the name of a fused array, e.g. `dit.b21.s0502-llm.b22.17x30`.

    A parent array keeps its grid in the name where it is not the fused one: other grids give other values.
    """
    ending = f".{grid[0]}x{grid[1]}"
    return "-".join(array.name.removesuffix(ending) for array in arrays) + ending
