"""What a store holds and what of it is committed: the part of a store that needs neither torch nor features."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from cache.format import clips, layout, records
from cache.format.clips import ClipEntry
from cache.format.commits import CommitIndex, ShardRecord
from cache.format.header import Header, load_covered, load_header
from cache.format.spec import ArraySpec
from cache.storage.backend import Backend
from configs.errors import MissingError


class StoreContents:
    """Identity, arrays, clips and coverage of one store; `FeatureStore` adds reading and writing.

    Attributes:
        backend: its storage.
        header: identity, arrays and file digests, as of opening or the last `refresh`.
        index: what is committed.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._checked: set[str] = set()
        self._looked_at = -1.0
        self._load()

    def _load(self) -> None:
        header = load_header(self.backend)
        header, data = load_covered(self.backend, header, layout.CLIPS)
        self.header: Header = header
        self._entries = clips.from_parquet(data, f"{self.where}/{layout.CLIPS}")
        self._clip_index = {entry.clip_id: number for number, entry in enumerate(self._entries)}
        self._arrays = {spec.name: spec for spec in header.arrays}
        self.index = CommitIndex(self.backend, header.fingerprint_digest)
        if layout.MANIFEST in header.files:
            from cache.format.manifest import preload

            preload(self.backend, header, self.index)
        self.index.refresh()

    # ---- what it is

    @property
    def where(self) -> str:
        """Folder of the store, for messages."""
        return self.backend.where

    @property
    def source(self) -> str:
        """What made the features."""
        return self.header.source

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        return self.header.dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value."""
        return self.header.fingerprint

    @cached_property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the fingerprint; its first 12 digits name the folder."""
        return self.header.fingerprint_digest

    @property
    def clips(self) -> list[str]:
        """The clip ids in order of the clip axis."""
        return [entry.clip_id for entry in self._entries]

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with all that is known of them, in order of the clip axis."""
        return self._entries

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays by name, in order of creation."""
        return dict(self._arrays)

    def array(self, name: str) -> ArraySpec:
        """Return one array.

        Raises:
            MissingError: no such array; the message names the closest.
        """
        try:
            return self._arrays[name]
        except KeyError:
            raise self._absent("array", name, self._arrays) from None

    def clip_index(self, clip_id: str) -> int:
        """Return the index of a clip on the clip axis.

        Raises:
            MissingError: no such clip; the message names the closest.
        """
        try:
            return self._clip_index[clip_id]
        except KeyError:
            raise self._absent("clip", clip_id, self._clip_index) from None

    def _absent(self, kind: str, name: str, known: Iterable[str]) -> MissingError:
        from configs.loader import closest

        return MissingError(f"the store has no {kind} {name!r}", where=self.where, fix=closest(name, known))

    def entry(self, clip_id: str) -> ClipEntry:
        """Return what is known of one clip."""
        return self._entries[self.clip_index(clip_id)]

    def refresh(self) -> None:
        """Look for clips, arrays and commits that other processes have added."""
        if self.backend.read(layout.STORE) != self.header.to_bytes():
            self._load()
        else:
            self.index.refresh()

    # ---- what is committed

    def coverage(self) -> dict[str, float]:
        """Return the committed share of the clips of each array, in [0, 1]."""
        counts = self.index.counts()
        return {name: counts.get(name, 0) / len(self._entries) for name in self._arrays}

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in order of the clip axis."""
        self.array(array)
        return [self._entries[clip].clip_id for clip in self.index.committed(array)]

    def missing(self, arrays: Iterable[str] | None = None, *, quarantined: bool = False) -> list[str]:
        """Return the ids of the clips that lack any of some arrays, in order.

        Args:
            arrays: array names; all by default.
            quarantined: whether to include clips set aside by `quarantine`.
        """
        names = [self.array(name).name for name in (self._arrays if arrays is None else arrays)]
        done = [set(self.index.committed(name)) for name in names]
        complete = set.intersection(*done) if done else set(range(len(self._entries)))
        left_out = set() if quarantined else set(self.quarantined())
        return [
            entry.clip_id
            for clip, entry in enumerate(self._entries)
            if clip not in complete and entry.clip_id not in left_out
        ]

    def shard_record(self, clip: int, array: str) -> ShardRecord | None:
        """Return the commit record of one shard; looks once more on the disk before it says None."""
        record = self.index.shard(clip, array)
        if record is None and time.monotonic() - self._looked_at > 1:
            self._looked_at = time.monotonic()
            self.index.refresh()
            record = self.index.shard(clip, array)
        return record

    def check_array(self, name: str) -> None:
        """Make sure, once per array, that its Zarr metadata is what was written."""
        if name not in self._checked:
            load_covered(self.backend, self.header, f"{layout.array_folder(name)}/zarr.json")
            self._checked.add(name)

    def quarantined(self) -> dict[str, str]:
        """Return the clips that were set aside, with reasons."""
        found = {}
        for name in sorted(self.backend.names(layout.QUARANTINE)):
            key = f"{layout.QUARANTINE}/{name}"
            try:
                values = records.parse(self.backend.read(key), f"{self.where}/{key}")
            except MissingError:  # cleared a moment ago
                continue
            found[str(values["clip_id"])] = str(values["reason"])
        return found


def quarantine_key(clip: int) -> str:
    """Key of the record that sets a clip aside."""
    return f"{layout.QUARANTINE}/{clip:08d}.json"
