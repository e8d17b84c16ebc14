"""Choosing arrays of a source by block, name, noise level, or a word such as `all`, `paper` or `even4`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs import commands
from configs.errors import ConfigError, MissingError
from configs.loader import closest, known_names, load_named
from configs.names import even_blocks, is_joined, own_grid, parse_name, read_source, resolve_alias, scaled_block


def choose_arrays(
    store: FeatureSource, layers: Sequence[str], noise: Sequence[str] = (), *, task: str = "", many: bool = False
) -> list[ArraySpec]:
    """Return the arrays that `layers=` and `noise=` name.

    Args:
        store: where to choose from.
        layers: block numbers, array names or taps; `all`, `paper` (those of the paper), `even4` (evenly spaced). Of
            arrays that differ in their grid alone, only `all` and names choose others than the model's own.
        noise: noise levels, as coefficient (`0.502`, `s0502`) or timestep (`t:502`); empty or `all` for every one.
        task: whose published blocks `paper` means; all tasks' if empty.
        many: whether a block number may mean several arrays, and no `layers` all of them.

    Raises:
        ConfigError: an unknown name, or several arrays where one is meant; the message lists them.
        MissingError: blocks or noise levels that the store lacks; the message names the command that adds them.
    """
    levels = [word for word in noise if word != "all"]
    arrays = [a for a in store.arrays.values() if _has_level(a, levels)]
    arrays = arrays if many else _at_own_grid(store, arrays)
    if not layers and not many and len(arrays) != 1 and len(store.arrays) > 1:
        raise ConfigError(
            "this store holds several arrays",
            found=", ".join(store.arrays),
            where=store.where,
            fix="choose with layers=<block or name>, or layers=all",
        )
    chosen: dict[str, ArraySpec] = {}
    alone = [array.name for array in arrays] if len(arrays) == 1 and not many else ["all"]
    for layer in layers or alone:
        for group in _meant(store, layer, task):
            fitting = [array for array in group if _has_level(array, levels)]
            if not many and layer != "all" and layer not in store.arrays:
                fitting = _at_own_grid(store, fitting)
            if len(fitting) > 1 and not many and layer.isdigit():
                names = ", ".join(a.name for a in fitting)
                raise ConfigError(f"several arrays at layer {layer}", found=names, fix="name the array in layers=")
            chosen |= {array.name: array for array in fitting}
            _check_levels(store, group, levels)
    return list(chosen.values())


def _at_own_grid(store: FeatureSource, arrays: Sequence[ArraySpec]) -> list[ArraySpec]:
    """Of arrays that differ in their grid alone, keep those at the model's own (see `configs.names.own_grid`)."""
    places: dict[object, list[ArraySpec]] = {}
    for array in arrays:
        places.setdefault((array.tap, array.block, array.noise_level), []).append(array)
    kept = []
    for group in places.values():
        own = [] if len(group) == 1 or is_joined(store.source) else [a for a in group if _is_own_grid(store, a)]
        kept += own or group
    return kept


def _is_own_grid(store: FeatureSource, array: ArraySpec) -> bool:
    pooled = re.search(r"from (\d+)x(\d+)$", array.pooling)
    native = (int(pooled[1]), int(pooled[2])) if pooled else array.grid
    known = pooled is not None or array.pooling == "none"
    return known and array.grid == own_grid(resolve_alias(read_source(store.source).model), native)


def _meant(store: FeatureSource, layer: str, task: str) -> list[list[ArraySpec]]:
    """Return the arrays that a word of `layers=` means, those of one block together, at all noise levels."""
    arrays = list(store.arrays.values())
    by_block = [array for array in arrays if array.block is not None]
    if layer == "all":
        return [arrays]
    named = [array for array in arrays if layer in (array.name, array.tap)]
    if named:
        return [named]
    if not by_block and (layer == "paper" or even_blocks(layer, 1)):
        return [arrays]  # a source without blocks has one depth only
    totals = {array.blocks_total or array.block or 0 for array in by_block}
    blocks = sorted({block for total in totals for block in _blocks(store, layer, task, total)})
    if not blocks:
        raise ConfigError(
            f"the store has no layer {layer!r}",
            where=store.where,
            fix=closest(layer, [*store.arrays, "all", "paper", "even4"]),
        )
    groups = {block: [array for array in by_block if array.block == block] for block in blocks}
    lacking = [block for block, group in groups.items() if not group]
    if lacking:
        there = sorted({array.block for array in by_block if array.block is not None})
        raise MissingError(
            f"{store.source} has no features of block {_join(lacking)}",
            found=f"blocks {_join(there)}",
            where=store.where,
            fix=_command(store, lacking, []),
        )
    return list(groups.values())


def _blocks(store: FeatureSource, layer: str, task: str, total: int) -> list[int]:
    """Return the blocks that a word means in a network of `total` blocks; none for an unknown word."""
    if layer == "paper":
        return _paper_blocks(store, task, total)
    if layer.isdigit():
        return [int(layer)] if 1 <= int(layer) <= total else []
    return even_blocks(layer, total) or []


def _paper_blocks(store: FeatureSource, task: str, total: int) -> list[int]:
    model = read_source(parse_name(store.source).branches[0].source).model
    values = load_named("model", model) if model in known_names("model") else {}
    known = dict(values.get("paper_blocks") or {})
    if not known:
        raise ConfigError(
            f"the paper's blocks of {store.source} are not known", fix="layers=all, even4 or block numbers"
        )
    numbers = [known[task]] if task in known else known.values()
    return [scaled_block(int(number), int(values["blocks"]), total) for number in numbers]


def _has_level(array: ArraySpec, words: Iterable[str]) -> bool:
    """Return whether an array is at one of some noise levels; arrays without noise are at any."""
    chosen = list(words)
    return not chosen or array.noise_level is None or any(_is_level(array, word) for word in chosen)


def _is_level(array: ArraySpec, word: str) -> bool:
    assert array.noise_level is not None
    kind, colon, text = word.rpartition(":")
    try:
        value = float(text.removeprefix("s")) / (1000 if text.startswith("s") else 1)
    except ValueError:
        raise _unreadable(word) from None
    if not colon:
        return abs(array.noise_level - value) < 0.0005
    if kind != "t":
        raise _unreadable(word)
    return bool(array.extra.get("timestep") == value)


def _unreadable(word: str) -> ConfigError:
    return ConfigError(
        f"can't read noise={word}",
        expected="a coefficient such as 0.502 or s0502, a timestep such as t:502, or all",
        fix=f"`{commands.cache('inspect')}` shows a store's levels; a schedule index means a different level "
        "in each model",
    )


def _check_levels(store: FeatureSource, group: Sequence[ArraySpec], words: Sequence[str]) -> None:
    """Reject noise levels that none of the arrays has."""
    noisy = [array for array in group if array.noise_level is not None]
    lacking = [word for word in words if noisy and not any(_is_level(array, word) for array in noisy)]
    if lacking:
        blocks = sorted({array.block for array in noisy if array.block is not None})
        raise MissingError(
            f"{store.source} has no features at noise {', '.join(lacking)}",
            found=", ".join(f"{array.name} (noise {array.noise_level:g})" for array in noisy),
            where=store.where,
            fix=_command(store, blocks, lacking),
        )


def _command(store: FeatureSource, blocks: Sequence[int], noise: Sequence[str]) -> str:
    """Return the command that adds blocks and levels to a store, or to the stores of a fusion."""
    sources = [branch.source for branch in parse_name(store.source).branches]
    return "; ".join(commands.extract_source(s, store.dataset, layers=list(blocks), noise=list(noise)) for s in sources)


def _join(numbers: Iterable[int]) -> str:
    return ",".join(str(number) for number in numbers)
