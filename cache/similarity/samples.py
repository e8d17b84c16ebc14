"""Which clips and frames several arrays have in common, and the samples that are taken of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from cache.format.spec import ArraySpec
from cache.similarity.measures import LEAST_SAMPLES, FloatArray
from cache.source import FeatureSource
from configs import commands
from configs.errors import ConfigError, MissingError, StaleError
from configs.loader import closest

Unit = tuple[int, ...]
"""Query slots that are one sample: in some array one row answers all of them."""


@dataclass(frozen=True)
class Layer:
    """One array of one source."""

    source: FeatureSource
    array: str

    @property
    def spec(self) -> ArraySpec:
        """Its shape and rows."""
        return self.source.array(self.array)


@dataclass(frozen=True)
class Sampling:
    """What a sample is.

    Attributes:
        pool: one of `cache.similarity.names.POOLS`.
        cells: cells of each row under `pool=cell`.
        seed: of their positions.
    """

    pool: str = "row"
    cells: int = 4
    seed: int = 0

    def per_clip(self, units: Sequence[Unit]) -> int:
        """Return the number of samples of a clip."""
        return {"clip": 1, "row": len(units), "cell": len(units) * self.cells}[self.pool]


def choose_layers(source: FeatureSource, pattern: str | None) -> list[Layer]:
    """Return the arrays of a source whose names fit a pattern, in order of creation.

    Args:
        source: where to look.
        pattern: a name, or one with the wildcards `*`, `?` and `[...]`; None for all.

    Raises:
        MissingError: none fits; the message names the closest.
    """
    names = [name for name in source.arrays if pattern is None or fnmatchcase(name, pattern)]
    if not names:
        raise MissingError(
            f"the {source.noun} of {source.source} has no array {pattern!r}",
            where=source.where,
            fix=closest(pattern or "", source.arrays),
        )
    return [Layer(source, name) for name in names]


def common_rooms(layers: Sequence[Layer]) -> dict[str, str]:
    """Return the clips that all arrays hold with the room of each; a clip without a room is one of its own.

    Raises:
        ConfigError: features of different datasets.
        StaleError: sources have features of different versions of a clip.
        MissingError: fewer than two clips in common.
    """
    sources = list({id(layer.source): layer.source for layer in layers}.values())
    datasets = {source.dataset for source in sources}
    if len(datasets) > 1:
        raise ConfigError(
            "similarity needs features of the same clips",
            expected="sources on one dataset",
            found=", ".join(f"{source.source} on {source.dataset}" for source in sources),
            fix="choose one with dataset=...",
        )
    held = [(layer, set(layer.source.committed(layer.array))) for layer in layers]
    common = set.intersection(*(clips for _, clips in held))
    rooms = {entry.clip_id: entry.group_id or entry.clip_id for entry in sources[0].entries if entry.clip_id in common}
    _check_same_clips(sources, rooms)
    if len(rooms) < 2:
        counts = {f"{layer.source.source} {layer.array}": len(clips) for layer, clips in held}
        raise MissingError(
            "too few clips that all arrays hold",
            expected="at least 2",
            found=f"{len(rooms)} in common; " + ", ".join(f"{name}: {n}" for name, n in sorted(counts.items())[:6]),
            where=sources[0].where,
            fix=commands.extract("run", model=[source.source for source in sources], dataset=sources[0].dataset)
            + " fills gaps; arrays that few clips have can be left out with <model>:<array>",
        )
    return rooms


def _check_same_clips(sources: Sequence[FeatureSource], rooms: dict[str, str]) -> None:
    first, *others = sources
    for source in others:
        differing = [c for c in rooms if first.entry(c).input_sha256 != source.entry(c).input_sha256]
        if differing:
            raise StaleError(
                f"{first.source} and {source.source} have features of different versions of the dataset",
                expected="the same frames of each clip",
                found=f"{len(differing)} of {len(rooms)} clips differ ({', '.join(differing[:3])})",
                where=source.where,
                fix="extract the older one again: "
                + commands.extract("run", model=commands.ANY, dataset=first.dataset),
            )


def sample_units(layers: Sequence[Layer]) -> list[Unit]:
    """Return the query slots that all arrays serve, those together that one row of any array answers.

    A model that answers four frames by one row can't be compared frame by frame: the rows of the others are averaged
    over the same four frames.

    Raises:
        MissingError: no slot is served by all arrays.
    """
    maps = [layer.spec.row_of_slot for layer in layers]
    served = [slot for slot in range(min(map(len, maps))) if all(rows[slot] >= 0 for rows in maps)]
    if not served:
        raise MissingError(
            "no query frame that all arrays have features of",
            found=", ".join(f"{layer.source.source} {layer.array}" for layer in layers[:6]),
            fix="leave arrays out with <model>:<array>",
        )
    unit_of = {slot: {slot} for slot in served}
    for rows in maps:
        first: dict[int, int] = {}
        for slot in served:
            other = first.setdefault(rows[slot], slot)
            if unit_of[other] is not unit_of[slot]:
                merged = unit_of[other] | unit_of[slot]
                unit_of.update(dict.fromkeys(merged, merged))
    return sorted({tuple(sorted(unit)) for unit in unit_of.values()})


def check_enough(clips: int, per_clip: int) -> None:
    """Refuse fewer samples than the estimators need.

    Raises:
        MissingError: there are fewer.
    """
    if clips * per_clip < LEAST_SAMPLES:
        raise MissingError(
            "too few samples",
            expected=f"at least {LEAST_SAMPLES}",
            found=f"{clips} clips with {per_clip} samples each",
            fix="pool=row, or features of more clips",
        )


def read_samples(layer: Layer, clip_ids: Sequence[str], units: Sequence[Unit], sampling: Sampling) -> FloatArray:
    """Return the samples of some clips, clip by clip; one unit's rows are in memory at a time.

    Returns:
        (clips * samples per clip, channels) float64.

    Raises:
        MissingError, CorruptionError, StorageError: see `FeatureSource.read`.
    """
    samples = [sample for clip_id in clip_ids for sample in _clip_samples(layer, clip_id, units, sampling)]
    return np.stack(samples)


def _clip_samples(layer: Layer, clip_id: str, units: Sequence[Unit], sampling: Sampling) -> list[FloatArray]:
    import torch

    spec = layer.spec
    found: list[FloatArray] = []
    for number, unit in enumerate(units):
        rows = sorted(set(spec.rows_of(unit)))
        maps = layer.source.read([(clip_id, layer.array, rows)])[0]
        if sampling.pool == "cell":
            y, x = _positions(f"{sampling.seed}/{clip_id}/{number}", sampling.cells, spec.grid)
            found += list(maps[:, y, x].double().mean(dim=0).numpy())
        else:
            found.append(maps.reshape(-1, spec.channels).mean(dim=0, dtype=torch.float64).numpy())
    return [np.mean(found, axis=0)] if sampling.pool == "clip" else found


def _positions(name: str, count: int, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells at random places of the frame, the same places on every grid."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    places = np.random.default_rng(seed).random((count, 2))
    return (places[:, 0] * grid[0]).astype(np.int64), (places[:, 1] * grid[1]).astype(np.int64)
