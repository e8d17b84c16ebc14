"""What readers of features rely on: the base class of stores, fused views and other sources, and where values go."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from cache.format.clips import ClipEntry
from cache.format.moments import Moments, MomentsBuilder, Vector, merged
from cache.format.spec import ITEM_BYTES, ArraySpec, torch_dtype
from configs.errors import MissingError, StoreError
from configs.identity import digest
from configs.loader import closest

if TYPE_CHECKING:
    import torch

ReadItem: TypeAlias = tuple[str, str, Sequence[int]]
"""(clip id, array name, rows)."""

Features: TypeAlias = "torch.Tensor | list[torch.Tensor]"
"""What `FeatureSource.read` returns."""


class FeatureSource(ABC):
    """Features of clips, read by (clip, array, rows).

    A source defines what it is (`where`, `source`, `dataset`, `fingerprint`, `entries`, `arrays`), which clips have an
    array (`committed`) and how rows are read (`_read`); everything else follows from these.

    Attributes:
        noun: what error messages call it.
        partial: (clip id, array) pairs that were read as NaN under `allow_partial`; results must carry them.
    """

    noun: ClassVar[str] = "source"

    def __init__(self) -> None:
        self.partial: set[tuple[str, str]] = set()

    # ---- what it is

    @property
    @abstractmethod
    def where(self) -> str:
        """Its location, for messages."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What made the features: a model, or another source."""

    @property
    @abstractmethod
    def dataset(self) -> str:
        """Name of the prepared dataset."""

    @property
    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value."""

    @property
    @abstractmethod
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with their group, input digest and extra facts, in order of the clip axis."""

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, ArraySpec]:
        """The arrays by name, in order of creation; not to be changed."""

    @cached_property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the fingerprint; its first 12 digits name the folder of a store."""
        return digest(self.fingerprint)

    @property
    def clips(self) -> list[str]:
        """The clip ids in order of the clip axis."""
        return [entry.clip_id for entry in self.entries]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {entry.clip_id: number for number, entry in enumerate(self.entries)}

    def array(self, name: str) -> ArraySpec:
        """Return one array.

        Raises:
            MissingError: no such array; the message names the closest.
        """
        try:
            return self.arrays[name]
        except KeyError:
            raise self._absent("array", name, self.arrays) from None

    def clip_index(self, clip_id: str) -> int:
        """Return the index of a clip on the clip axis.

        Raises:
            MissingError: no such clip; the message names the closest.
        """
        try:
            return self._places[clip_id]
        except KeyError:
            raise self._absent("clip", clip_id, self._places) from None

    def _absent(self, kind: str, name: str, known: Iterable[str]) -> MissingError:
        return MissingError(f"the {self.noun} has no {kind} {name!r}", where=self.where, fix=closest(name, known))

    def entry(self, clip_id: str) -> ClipEntry:
        """Return the entry of one clip; errors as `clip_index`."""
        return self.entries[self.clip_index(clip_id)]

    # ---- what can be read

    @abstractmethod
    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in order of the clip axis.

        Raises:
            MissingError: no such array.
        """

    def coverage(self) -> dict[str, float]:
        """Return the committed share of the clips of each array, in [0, 1]."""
        return {name: len(self.committed(name)) / len(self.entries) for name in self.arrays}

    def missing(self, arrays: Iterable[str] | None = None, *, quarantined: bool = False) -> list[str]:
        """Return the ids of the clips that lack any of some arrays, in order of the clip axis.

        Args:
            arrays: array names; all by default.
            quarantined: whether to include quarantined clips.
        """
        done = [set(self.committed(name)) for name in (self.arrays if arrays is None else arrays)]
        clips = self.clips
        complete = set.intersection(*done) if done else set(clips)
        left_out = set() if quarantined else set(self.quarantined())
        return [clip_id for clip_id in clips if clip_id not in complete and clip_id not in left_out]

    def quarantined(self) -> dict[str, str]:
        """Return the quarantined clips with the reasons."""
        return {}

    def refresh(self) -> None:  # noqa: B027  # nothing to do for a source that never changes
        """Look for clips, arrays and commits that other processes have added."""

    # ---- reading

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        allow_partial: bool = False,
    ) -> Features:
        """Read rows of clips. Each is compared with its checksum when a process reads it for the first time.

        Args:
            items: (clip id, array name, rows) each; rows in any order, repeats allowed.
            out: where to put the values: a contiguous tensor of the result's dtype and shape, or a flat uint8 tensor
                with at least as many bytes. New memory by default, which costs several times the read itself for
                batches above 32 MB.
            allow_partial: read clips without committed features as NaN and note them in `partial`.

        Returns:
            (items, rows, height, width, channels) in the stored dtype; a list of one tensor (rows, height, width,
            channels) per item if their shapes or dtypes differ; an empty list for no items.

        Raises:
            MissingError: unknown clip, array or row, or a clip that is not committed.
            CorruptionError: the bytes on disk have changed since they were written.
            StorageError: the file system reports an error.
        """
        return self._read(items, out, allow_partial) if items else []

    @abstractmethod
    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Features:
        """See `read`; there is at least one item."""

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have for some items."""
        return bytes_for(items, [self.array(name) for _, name, _ in items])

    def branch_reads(self) -> FeatureSource:
        """Return the source that a loader reads this one through; itself, unless features are joined after loading."""
        return self

    # ---- statistics

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics of an array over some clips.

        Computed here by reading the clips, and merged in order of the clip axis: a store, which keeps the statistics of
        each clip, gives the same bits for the same values.

        Raises:
            MissingError: a clip is unknown or not committed.
        """
        numbers = sorted({self.clip_index(clip_id) for clip_id in clip_ids})
        return merged((self._clip_moments(number, array) for number in numbers), self.array(array).channels)

    def _clip_moments(self, clip: int, array: str) -> Moments:
        import torch

        spec = self.array(array)
        builder = MomentsBuilder(spec.channels, spec.dtype)
        for row in self.read([(self.entries[clip].clip_id, array, range(spec.rows))])[0]:
            builder.add(np.asarray(row.reshape(-1).view(torch.uint8).numpy(), np.uint8))
        return builder.moments

    def statistics(self, array: str, clip_ids: Iterable[str]) -> tuple[int, Vector, Vector]:
        """Return (count, mean, variance) over all cells of some clips, per channel in float64; errors as `moments`."""
        found = self.moments(array, clip_ids)
        return found.count, found.mean, found.variance


# ---- where the values that are read go


def allocate(items: Sequence[ReadItem], specs: Sequence[ArraySpec], out: torch.Tensor | None) -> Features:
    """Return where the values of `FeatureSource.read` go: one tensor if all items agree, else one tensor per item.

    Raises:
        StoreError: `out` does not fit.
    """
    if len(items) == 1:
        spec = specs[0]
        return _tensor((1, len(items[0][2]), *spec.grid, spec.channels), spec.dtype, out)
    shapes = _shapes(items, specs)
    if _uniform(shapes, specs):
        return _tensor((len(items), *shapes[0]), specs[0].dtype, out)
    if out is None:
        return [_tensor(shape, spec.dtype, None) for shape, spec in zip(shapes, specs, strict=True)]
    tensors, start = [], 0
    for shape, spec in zip(shapes, specs, strict=True):
        tensors.append(_tensor(shape, spec.dtype, out[start:]))
        start += _aligned(math.prod(shape) * ITEM_BYTES[spec.dtype])
    return tensors


def bytes_for(items: Sequence[ReadItem], specs: Sequence[ArraySpec]) -> int:
    """Return the bytes that a flat `out` of `allocate` must have."""
    sizes = [len(item[2]) * spec.row_bytes for item, spec in zip(items, specs, strict=True)]
    return sum(sizes) if not sizes or _uniform(_shapes(items, specs), specs) else sum(map(_aligned, sizes))


def _shapes(items: Sequence[ReadItem], specs: Sequence[ArraySpec]) -> list[tuple[int, int, int, int]]:
    return [(len(item[2]), *spec.grid, spec.channels) for item, spec in zip(items, specs, strict=True)]


def _uniform(shapes: Sequence[tuple[int, ...]], specs: Sequence[ArraySpec]) -> bool:
    return len(set(shapes)) == 1 and all(spec.dtype == specs[0].dtype for spec in specs)


def _tensor(shape: tuple[int, ...], dtype: str, out: torch.Tensor | None) -> torch.Tensor:
    import torch

    wanted = torch_dtype(dtype)
    if out is None:
        return torch.empty(shape, dtype=wanted)
    if out.dtype == wanted and out.shape == shape and out.is_contiguous():
        return out
    size = math.prod(shape) * ITEM_BYTES[dtype]
    if out.dtype == torch.uint8 and out.dim() == 1 and out.is_contiguous() and out.numel() >= size:
        return out[:size].view(wanted).view(shape)
    raise StoreError(
        "`out` does not fit",
        expected=f"a contiguous {wanted} tensor of shape {shape}, or at least {size} bytes as a flat uint8 tensor",
        found=f"{out.dtype} {tuple(out.shape)}",
    )


def _aligned(size: int) -> int:
    return -(-size // 64) * 64  # so that any dtype can start here
