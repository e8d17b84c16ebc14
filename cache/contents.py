"""What a store holds, which of it is committed, its statistics and its quarantine: all but reading features."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from cache.format import clips, layout, moments, records
from cache.format.clips import ClipEntry
from cache.format.header import Header, load_covered, load_header
from cache.format.manifest import preload
from cache.format.records import CommitIndex, ShardRecord
from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError, MissingError, malformed
from configs.files import sha256_bytes


class StoreContents(FeatureSource):
    """Identity, arrays, clips and coverage of one store; `FeatureStore` adds reading and writing.

    Attributes:
        backend: its storage.
        header: identity, arrays and file digests, as of opening or the last `refresh`.
        index: what is committed.
    """

    noun: ClassVar[str] = "store"
    where, source, dataset = "", "", ""
    fingerprint: Mapping[str, Any] = MappingProxyType({})
    entries: Sequence[ClipEntry] = ()
    arrays: Mapping[str, ArraySpec] = MappingProxyType({})

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend, self.where = backend, backend.where
        self._checked: set[str] = set()
        self._looked_at = -1.0
        self._load()

    def _load(self) -> None:
        header = load_header(self.backend)
        header, data = load_covered(self.backend, header, layout.CLIPS)
        self.header: Header = header
        self.source, self.dataset, self.fingerprint = header.source, header.dataset, header.fingerprint
        self.entries = clips.from_parquet(data, f"{self.where}/{layout.CLIPS}")
        self.__dict__.pop("_places", None)  # of the clips as they were
        self.arrays = {spec.name: spec for spec in header.arrays}
        self.index = CommitIndex(self.backend, header.fingerprint_digest)
        if layout.MANIFEST in header.files:
            preload(self.backend, header, self.index)
        self.index.refresh()

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
        return {name: counts.get(name, 0) / len(self.entries) for name in self.arrays}

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in order of the clip axis."""
        self.array(array)
        return [self.entries[clip].clip_id for clip in self.index.committed(array)]

    def shard_record(self, clip: int, array: str) -> ShardRecord | None:
        """Return the commit record of one shard; if there is none, look for new ones first, at most once a second."""
        record = self.index.shard(clip, array)
        if record is None and time.monotonic() - self._looked_at > 1:
            self._looked_at = time.monotonic()
            self.index.refresh()
            record = self.index.shard(clip, array)
        return record

    def check_array(self, name: str) -> None:
        """Check, once per array, that its Zarr metadata has not changed since it was written."""
        if name not in self._checked:
            load_covered(self.backend, self.header, f"{layout.array_folder(name)}/zarr.json")
            self._checked.add(name)

    def _clip_moments(self, clip: int, array: str) -> moments.Moments:
        """Return the statistics that were kept when a clip was written.

        Raises:
            MissingError: it is not committed; CorruptionError: the statistics have changed since they were written.
        """
        found = self.index.statistics(clip, array)
        if found is None:
            raise MissingError(
                f"clip {self.entries[clip].clip_id} has no committed features in array {array}",
                where=self.where,
                fix=f"run the same `{commands.extract('run')}` command again: it fills the gaps",
            )
        generation, _, sha = found
        key = layout.statistics_key(clip, generation)
        where = f"{self.where}/{key}"
        try:
            data = self.backend.read(key)
        except MissingError:
            data = b""
        if sha256_bytes(data) != sha:
            raise CorruptionError(
                "channel statistics have changed since they were written",
                where=where,
                fix=commands.repair(self.where),
            )
        kept = moments.from_bytes(data, array, where)
        channels = self.array(array).channels
        if len(kept.mean) != channels:
            raise CorruptionError(
                "channel statistics don't fit their array",
                expected=f"{channels} channels",
                found=f"{len(kept.mean)}",
                where=where,
                fix=commands.repair(self.where),
            )
        return kept

    # ---- quarantine

    def quarantined(self) -> dict[str, str]:
        """Return the quarantined clips with the reasons."""
        found = {}
        for name in sorted(self.backend.names(layout.QUARANTINE)):
            key = f"{layout.QUARANTINE}/{name}"
            try:
                values = records.parse(self.backend.read(key), f"{self.where}/{key}")
            except MissingError:  # cleared a moment ago
                continue
            with malformed("not the record of a clip that was set aside", f"{self.where}/{key}", "delete the file"):
                found[str(values["clip_id"])] = str(values["reason"])
        return found

    def quarantine(self, clip_id: str, reason: str) -> None:
        """Quarantine a clip with a reason: it does not count as done, and a later commit clears it."""
        clip = self.clip_index(clip_id)
        values = {"clip": clip, "clip_id": clip_id, "reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        self.backend.replace(layout.quarantine_key(clip), records.render(values), durable=True)

    def clear_quarantine(self, clip_id: str) -> None:
        """End the quarantine of a clip, so that it is tried again."""
        self.backend.delete(layout.quarantine_key(self.clip_index(clip_id)))
