"""What readers of features rely on: an interface that a store, or a view over several stores, fulfils."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from cache.format.clips import ClipEntry
    from cache.format.moments import Moments, Vector
    from cache.format.spec import ArraySpec
    from cache.shard_reader import ReadItem


class FeatureSource(Protocol):
    """Features of clips, read by (clip, array, rows); every member is described at `cache.store.FeatureStore`.

    Attributes:
        partial: (clip id, array) pairs that were read as NaN under `allow_partial`.
    """

    partial: set[tuple[str, str]]

    @property
    def where(self) -> str:
        """Where it lies, for messages."""
        ...

    @property
    def source(self) -> str:
        """What made the features."""
        ...

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        ...

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value."""
        ...

    @property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the fingerprint."""
        ...

    @property
    def clips(self) -> list[str]:
        """The clip ids in order."""
        ...

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with all that is known of them, in order."""
        ...

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays by name."""
        ...

    def array(self, name: str) -> ArraySpec:
        """Return one array."""
        ...

    def clip_index(self, clip_id: str) -> int:
        """Return the index of a clip."""
        ...

    def entry(self, clip_id: str) -> ClipEntry:
        """Return what is known of one clip."""
        ...

    def refresh(self) -> None:
        """Look for what other processes have added."""
        ...

    def coverage(self) -> dict[str, float]:
        """Return the committed share of the clips of each array."""
        ...

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array."""
        ...

    def missing(self, arrays: Iterable[str] | None = None, *, quarantined: bool = False) -> list[str]:
        """Return the ids of the clips that lack any of some arrays."""
        ...

    def quarantined(self) -> dict[str, str]:
        """Return the clips that were set aside, with reasons."""
        ...

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        verify: bool = False,
        allow_partial: bool = False,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Read rows of clips."""
        ...

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that `out` of `read` must have."""
        ...

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics over some clips."""
        ...

    def statistics(self, array: str, clip_ids: Iterable[str]) -> tuple[int, Vector, Vector]:
        """Return (count, mean, variance) per channel over some clips."""
        ...
