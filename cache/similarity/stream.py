"""The pass over the stores: batch by batch through Dask, in memory that doesn't grow with the number of clips.

A batch of n samples takes about n (n - 1) / 2 x 8 bytes per array and measure, plus one array's samples. Only sums of
inner products outlive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cache.similarity.batches import Batch, clips_of, make_batches, room_permutations
from cache.similarity.measures import FloatArray, pair_vectors, permuted_pairs
from cache.similarity.names import MEASURES
from cache.similarity.samples import Layer, Sampling, Unit, check_enough, common_rooms, read_samples, sample_units
from configs.console import Progress, get_logger
from configs.jobs import run_jobs

BAND = (0.025, 0.975)
"""Quantiles of the permutations that the band lies between."""
FEW_ROOMS = 5
"""With fewer rooms in a batch there are too few pairings of rooms for a band of 95 %."""


@dataclass(frozen=True)
class Settings:
    """How similarity is estimated.

    Attributes:
        measures: names in `cache.similarity.names.MEASURES`.
        sampling: what a sample is.
        batch: clips of a batch on average.
        permutations: random pairings of rooms.
        seed: of batches, pairings and sampled cells.
    """

    measures: tuple[str, ...] = MEASURES
    sampling: Sampling = field(default_factory=Sampling)
    batch: int = 32
    permutations: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Similarity:
    """Similarities of each array on the left with each on the right; arrays of results are (measures, left, right).

    Attributes:
        left, right: the arrays.
        settings: how they were estimated.
        clips, rooms: how many the arrays have in common.
        samples: how many were compared.
        batches: in how many batches.
        fewest_rooms: rooms of the batch with the fewest.
        value: float64; CKA and RSA in [-1, 1] up to rounding, NaN where all samples of an array are alike.
        low, high: limits of the band of 95 % of random pairings; NaN with one room or without permutations.
        p_value: (1 + pairings at least as similar) / (1 + pairings), one-sided; NaN as `low`.
    """

    left: Sequence[Layer]
    right: Sequence[Layer]
    settings: Settings
    clips: int
    rooms: int
    samples: int
    batches: int
    fewest_rooms: int
    value: FloatArray
    low: FloatArray
    high: FloatArray
    p_value: FloatArray


@dataclass(frozen=True)
class Sums:
    """Inner products of one or more batches, weighted by the samples of each.

    Attributes:
        squares: (measures, layers).
        products: (measures, left, right).
        paired: (permutations, measures, left, right): the same for random pairings.
    """

    squares: FloatArray
    products: FloatArray
    paired: FloatArray

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.squares + other.squares, self.products + other.products, self.paired + other.paired)


@dataclass(frozen=True)
class BatchJob:
    """What is computed of each batch; picklable, for the worker processes.

    Attributes:
        layers: all arrays, each once.
        left, right: numbers in `layers`.
        units: see `cache.similarity.samples.sample_units`.
        batches: the clips.
        settings: how.
    """

    layers: tuple[Layer, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    units: tuple[Unit, ...]
    batches: tuple[Batch, ...]
    settings: Settings

    def __call__(self, item: str) -> Sums:
        """Return the sums of the batch with this number; errors of `read_samples`."""
        settings, number = self.settings, int(item)
        batch = self.batches[number]
        clips = clips_of(batch)
        samples = settings.sampling.per_clip(self.units)
        vectors = [
            pair_vectors(read_samples(layer, clips, self.units, settings.sampling), settings.measures)
            for layer in self.layers
        ]
        weight = len(clips) * samples
        orders = room_permutations([len(room) for room in batch], samples, self.permutations, (settings.seed, number))
        shape = (len(settings.measures), len(self.left), len(self.right))
        squares = np.empty((len(settings.measures), len(self.layers)))
        products, paired = np.empty(shape), np.empty((len(orders), *shape))
        stacks = [np.stack([vector[measure] for vector in vectors]) for measure in range(shape[0])]
        del vectors
        left, right = ([_rows(stack, side) for stack in stacks] for side in (self.left, self.right))
        for measure, stack in enumerate(stacks):
            squares[measure] = np.einsum("ij,ij->i", stack, stack)
            products[measure] = left[measure] @ right[measure].T
        for place, order in enumerate(orders):
            pairs = permuted_pairs(order)
            for measure in range(len(stacks)):
                paired[place, measure] = left[measure] @ right[measure][:, pairs].T
        return Sums(squares * weight, products * weight, paired * weight)

    @property
    def permutations(self) -> int:
        """Random pairings: none where no batch has rooms to exchange."""
        return self.settings.permutations if max(map(len, self.batches)) > 1 else 0


def similarity(
    left: Sequence[Layer], right: Sequence[Layer], settings: Settings, *, workers: int = 1, cluster: str = "local"
) -> Similarity:
    """Return the similarity of each array on the left with each on the right, over the clips that all of them hold.

    The result depends on the clips, rooms and settings, not on the order of clips in a store, nor on the workers.

    Args:
        left, right: the arrays, of one dataset.
        settings: how.
        workers, cluster: see `configs.jobs.run_jobs`.

    Raises:
        ConfigError, MissingError, StaleError: see `common_rooms`, `sample_units`, `check_enough`, `make_batches`.
        CorruptionError, StorageError: see `read_samples`.
    """
    layers: list[Layer] = []
    numbers = [[_number(layers, layer) for layer in side] for side in (left, right)]
    rooms = common_rooms(layers)
    units = sample_units(layers)
    samples = settings.sampling.per_clip(units)
    check_enough(len(rooms), samples)
    batches = make_batches(rooms, settings.batch, settings.seed)
    job = BatchJob(tuple(layers), tuple(numbers[0]), tuple(numbers[1]), tuple(units), tuple(batches), settings)
    sums = _total(job, workers, cluster)
    a, b = (np.sqrt(sums.squares[:, side]) for side in numbers)
    scale = a[:, :, None] * b[:, None, :]
    value = _ratio(sums.products, scale)
    low, high, p_value = _band(value, _ratio(sums.paired, scale))
    fewest = min(map(len, batches))
    counts = (len(rooms), len(set(rooms.values())), len(rooms) * samples, len(batches), fewest)
    return Similarity(left, right, settings, *counts, value, low, high, p_value)


def _number(layers: list[Layer], layer: Layer) -> int:
    for number, known in enumerate(layers):
        if known.source is layer.source and known.array == layer.array:
            return number
    layers.append(layer)
    return len(layers) - 1


def _total(job: BatchJob, workers: int, cluster: str) -> Sums:
    """Return the sums over all batches, added in their order so that every run gives the same bits."""
    total: Sums | None = None
    waiting: dict[int, Sums] = {}
    added = 0
    log = get_logger("cache")
    clips = sum(len(clips_of(batch)) for batch in job.batches)
    with Progress(clips, "similarity", "clips", log=log) as bar:
        for item, result in run_jobs(job, [str(number) for number in range(len(job.batches))], workers, cluster):
            if isinstance(result, BaseException):
                raise result
            waiting[int(item)] = result
            while added in waiting:
                part = waiting.pop(added)
                total = part if total is None else total + part
                added += 1
            bar.advance(len(clips_of(job.batches[int(item)])))
    assert total is not None  # there is at least one batch
    return total


def _rows(stack: FloatArray, numbers: tuple[int, ...]) -> FloatArray:
    return stack if numbers == tuple(range(len(stack))) else stack[list(numbers)]


def _ratio(products: FloatArray, scale: FloatArray) -> FloatArray:
    return np.divide(products, scale, out=np.full_like(products, np.nan), where=scale > 0)


def _band(value: FloatArray, paired: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    if not len(paired):
        nothing: npt.NDArray[np.float64] = np.full_like(value, np.nan)
        return nothing, nothing, nothing
    low, high = np.quantile(paired, BAND, axis=0)
    p_value = (1 + (paired >= value).sum(axis=0)) / (1 + len(paired))
    return low, high, np.where(np.isnan(value), np.nan, p_value)
