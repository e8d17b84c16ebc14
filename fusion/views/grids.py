"""Which array of each parent is fused, and on which grid."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs import commands
from configs.commands import ArrayFacts
from configs.errors import ConfigError, MissingError
from configs.loader import closest

Grid = tuple[int, int]


def refill_command(parent: FeatureSource, root: str | os.PathLike[str] | None = None) -> str:
    """Return the command that makes the arrays of a source for clips that lack them."""
    facts = [
        ArrayFacts(array.block, array.tap, array.noise_level, array.extra.get("timestep"), array.grid)
        for array in parent.arrays.values()
    ]
    return commands.refill(parent.source, parent.dataset, facts, root=root)


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
            fix = commands.add_array(parent.source, parent.dataset, int(layer))
        raise MissingError(f"{parent.source} has no layer {layer!r}", where=parent.where, fix=fix)
    return fitting


def target_grid(text: str, parents: Sequence[FeatureSource], arrays: Sequence[Sequence[ArraySpec]]) -> Grid:
    """Return the grid on which branches meet.

    Args:
        text: `17x30`, `first`, `last`, or the name of a parent.
        parents: the sources.
        arrays: the candidate arrays of each parent.

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
    grids = ",".join([*(f"{a.grid[0]}x{a.grid[1]}" for a in group), f"{height}x{width}"])
    timestep = finest.extra.get("timestep")
    command = commands.add_array(
        parent.source, parent.dataset, finest.block, finest.tap, finest.noise_level, timestep, grids
    )
    raise MissingError(
        f"{parent.source} has no features on grid {height}x{width}, nor on a finer one",
        found=f"{finest.name}, {finest.pooling}" if finest.pooling != "none" else finest.name,
        where=parent.where,
        fix=f"{command} adds it; or choose grid=, or interpolate with upsample=always",
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
