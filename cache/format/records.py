"""The records of a store: small JSON files that end with a digest of their bytes, and the index of those of commits.

A clip counts from the moment its commit record exists; `CommitIndex` is what readers and resuming jobs ask.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from cache.format import layout
from cache.format.moments import Moments, to_bytes
from cache.format.spec import is_array_name
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError, MissingError, VersionError, malformed
from configs.files import is_sealed, sealed, sha256_bytes
from configs.identity import plain


def render(values: Mapping[str, Any]) -> bytes:
    """Return a record as bytes: the schema, the fields, and as last line the SHA-256 of the bytes before that line.

    Raises:
        TypeError: a value has no JSON form.
        ValueError: a float is not finite.
    """
    body = {"schema": layout.SCHEMA, **{key: plain(value) for key, value in values.items()}}
    return sealed(json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False).encode())


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Return the fields of a record.

    Raises:
        VersionError: the record was written by another version of the format.
        CorruptionError: it is empty, truncated, not a record, or any byte of it has changed.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = f"not a readable record: {error}" if data else "the file is empty"
        raise CorruptionError(problem, where=where, fix=_fix(where)) from None
    if not isinstance(record, dict) or not isinstance(record.get("schema"), str):
        raise CorruptionError("not a record of a feature store", where=where, fix=_fix(where))
    family, _, version = record["schema"].partition("/")
    if record["schema"] != layout.SCHEMA and family == layout.SCHEMA.partition("/")[0] and version.isdecimal():
        raise VersionError(
            "written by another version of the feature store",
            expected=layout.SCHEMA,
            found=record["schema"],
            where=where,
            fix="update spatialprobe, or extract again under another root=...",
        )
    if record["schema"] != layout.SCHEMA or not is_sealed(data):
        raise CorruptionError("a record does not match its own digest", where=where, fix=_fix(where))
    del record["digest"]
    return record


def _fix(where: str) -> str:
    folder = where
    for part in ("commits/", "quarantine/", "store.json"):
        folder = folder.partition(part)[0]
    return commands.repair(folder.rstrip("/:"))


class ShardRecord(NamedTuple):
    """One shard as a commit record describes it.

    Attributes:
        bytes: size of the file.
        crc32c: checksum of each row's uncompressed little-endian bytes.
        absmax: largest absolute value.
        chunks: (offset, bytes, crc32c) of each compressed row; None for uncompressed arrays.
    """

    bytes: int
    crc32c: tuple[int, ...]
    absmax: float
    chunks: tuple[tuple[int, int, int], ...] | None = None


@dataclasses.dataclass(frozen=True)
class CommitRecord:
    """One commit: a set of arrays of one clip that was written together.

    Attributes:
        clip: index on the clip axis.
        clip_id, input_sha256: copied from the clip table.
        generation: 0 for the first commit of a clip, counting up as arrays are added.
        fingerprint: digest of the store's fingerprint.
        arrays: the shards by array name.
        statistics_bytes, statistics_sha256: of the file of channel statistics.
        run: host, process, run id, time and versions; differs between identical stores.
    """

    clip: int
    clip_id: str
    input_sha256: str
    generation: int
    fingerprint: str
    arrays: Mapping[str, ShardRecord]
    statistics_bytes: int
    statistics_sha256: str
    run: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Key of the record."""
        return f"{layout.COMMITS}/{layout.commit_name(self.clip, self.generation)}"

    def to_bytes(self) -> bytes:
        """Return the record as bytes."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["arrays"] = {
            name: {"nonfinite": 0, **{k: v for k, v in shard._asdict().items() if v is not None}}
            for name, shard in self.arrays.items()
        }
        return render(values)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> CommitRecord:
        """Read a record.

        Raises:
            CorruptionError, VersionError: see `parse`.
        """
        values = parse(data, where)
        with malformed("incomplete or malformed commit record", where, _fix(where)):
            arrays = {name: _shard(shard) for name, shard in values.pop("arrays").items()}
            if strange := [name for name in arrays if not is_array_name(name)]:
                raise ValueError(f"not the name of an array: {strange[0]!r}")
            del values["schema"]
            record = cls(arrays=arrays, **values)
            texts = (record.clip_id, record.input_sha256, record.fingerprint, record.statistics_sha256)
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("names and digests are texts")
            return record


def _shard(values: Mapping[str, Any]) -> ShardRecord:
    chunks = values.get("chunks")
    total, sums = values["bytes"], values["crc32c"]
    if not isinstance(sums, list) or not isinstance(chunks, list | None):
        raise TypeError("checksums and rows are lists")
    pieces = None if chunks is None else tuple((offset, size, crc) for offset, size, crc in chunks)
    numbers = [total, *sums, *(number for piece in pieces or () for number in piece)]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("sizes and checksums are whole numbers")
    if any(offset + size > total for offset, size, _ in pieces or ()):
        raise ValueError("a row ends behind the end of its shard")
    return ShardRecord(total, tuple(sums), float(values["absmax"]), pieces)


class SealedRecords(Protocol):
    """The commit records of a manifest, one row per shard."""

    def keys(self) -> Iterable[tuple[int, int, str]]:
        """Return (clip, generation, array) of all rows."""
        ...

    def shard(self, row: int) -> ShardRecord:
        """Return the shard of one row."""
        ...

    def statistics(self, row: int) -> tuple[int, str]:
        """Return size and SHA-256 of the statistics file that covers one row."""
        ...


class CommitIndex:
    """Which arrays of which clips are committed; records are read when first asked for.

    Threads share it: one that commits adds records while others look for those of other processes.

    Args:
        backend: where the records are.
        fingerprint: digest that every record must carry.
    """

    def __init__(self, backend: Backend, fingerprint: str) -> None:
        self.backend, self.fingerprint = backend, fingerprint
        self._lock = threading.RLock()
        self._names: set[str] = set()
        self._latest: dict[int, int] = {}  # generation; only ever goes up
        self._unread: dict[int, list[int]] = {}
        # facts from the manifest stay there until they are needed, under the number of their row
        self._shards: dict[tuple[int, str], tuple[int, ShardRecord | int]] = {}
        self._statistics: dict[tuple[int, int], tuple[int, str] | int] = {}
        self._sealed: SealedRecords | None = None
        self._sealed_names: set[str] = set()

    def preload(self, sealed: SealedRecords) -> None:
        """Take over the records of a manifest."""
        self._sealed = sealed
        keys = list(sealed.keys())
        self._shards = {(clip, array): (generation, row) for row, (clip, generation, array) in enumerate(keys)}
        self._statistics = {(clip, generation): row for row, (clip, generation, _) in enumerate(keys)}
        self._names = {layout.commit_name(clip, generation) for clip, generation in self._statistics}
        self._sealed_names = set(self._names)
        self._latest = dict(sorted(self._statistics))

    @property
    def sealed(self) -> bool:
        """Whether the manifest holds exactly the records that are known to exist."""
        return self._sealed is not None and self._names == self._sealed_names

    def _resolve(self, found: ShardRecord | int) -> ShardRecord:
        if isinstance(found, ShardRecord):
            return found
        assert self._sealed is not None
        return self._sealed.shard(found)

    def refresh(self) -> None:
        """Look for records that were added or removed by other processes."""
        with self._lock:
            before = set(self._names)
        listed = set(self.backend.names(layout.COMMITS))
        with self._lock:
            # what another thread has added since may lack in the list: it isn't gone
            gone = [parsed for name in before - listed if (parsed := layout.parse_commit_name(name))]
            for clip, generation in gone:
                for key in [k for k, v in self._shards.items() if k[0] == clip and v[0] == generation]:
                    del self._shards[key]
                self._statistics.pop((clip, generation), None)
                if generation in self._unread.get(clip, ()):
                    self._unread[clip].remove(generation)
            for name in listed - self._names:
                parsed = layout.parse_commit_name(name)
                if parsed is not None:
                    self._latest[parsed[0]] = max(parsed[1], self._latest.get(parsed[0], -1))
                    self._unread.setdefault(parsed[0], []).append(parsed[1])
            self._names = listed | (self._names - before)

    def shard(self, clip: int, array: str) -> ShardRecord | None:
        """Return the record of one shard, None if it is not committed.

        Raises:
            CorruptionError: a commit record of this clip can't be trusted.
        """
        if clip in self._unread:
            self._read(clip)
        found = self._shards.get((clip, array))
        return None if found is None else self._resolve(found[1])

    def statistics(self, clip: int, array: str) -> tuple[int, int, str] | None:
        """Return (generation, size, SHA-256) of the statistics file that covers one shard."""
        if self.shard(clip, array) is None:
            return None
        generation = self._shards[clip, array][0]
        facts = self._statistics[clip, generation]
        if isinstance(facts, int):
            assert self._sealed is not None
            facts = self._sealed.statistics(facts)
        return (generation, *facts)

    def committed(self, array: str) -> list[int]:
        """Return the indexes of all clips that have an array, ascending."""
        with self._lock:
            self.read_all()
            return sorted(clip for clip, name in self._shards if name == array)

    def shards(self, array: str) -> list[tuple[int, ShardRecord]]:
        """Return (clip, record) of all committed shards of an array, ascending."""
        return [(clip, self._resolve(self._shards[clip, array][1])) for clip in self.committed(array)]

    def counts(self) -> dict[str, int]:
        """Return the number of committed clips of each array."""
        counts: dict[str, int] = {}
        with self._lock:
            self.read_all()
            for _, name in self._shards:
                counts[name] = counts.get(name, 0) + 1
        return counts

    def generations(self, clip: int) -> list[int]:
        """Return the generations of a clip's commit records, ascending."""
        with self._lock:
            found = [layout.parse_commit_name(name) for name in self._names]
        return sorted(parsed[1] for parsed in found if parsed and parsed[0] == clip)

    def probe(self, clip: int) -> int:
        """Look for records of one clip that others have added; return the next free generation.

        Cheaper than `refresh`: new generations always count up, so one look behind the last known one is enough.
        """
        with self._lock:
            generation = self._latest.get(clip, -1) + 1
            while self.backend.size(f"{layout.COMMITS}/{layout.commit_name(clip, generation)}") is not None:
                self._names.add(layout.commit_name(clip, generation))
                self._latest[clip] = generation
                self._unread.setdefault(clip, []).append(generation)
                generation += 1
            return generation

    def read_all(self) -> None:
        """Read every record that was not read yet."""
        with self._lock:
            for clip in list(self._unread):
                self._read(clip)

    def add(self, record: CommitRecord) -> None:
        """Take over a record that this process has just written."""
        with self._lock:
            self._names.add(layout.commit_name(record.clip, record.generation))
            self._latest[record.clip] = max(record.generation, self._latest.get(record.clip, -1))
            self._statistics[record.clip, record.generation] = (record.statistics_bytes, record.statistics_sha256)
            for name, shard in record.arrays.items():
                self._shards[record.clip, name] = (record.generation, shard)

    def _read(self, clip: int) -> None:
        with self._lock:
            generations: Sequence[int] = sorted(self._unread.get(clip, ()))
            for generation in generations:
                try:
                    self.add(load_commit(self.backend, clip, generation, self.fingerprint))
                except MissingError:  # repaired away since it was listed
                    self._names.discard(layout.commit_name(clip, generation))
            self._unread.pop(clip, None)


def load_commit(backend: Backend, clip: int, generation: int, fingerprint: str) -> CommitRecord:
    """Read one commit record and check that it belongs here.

    Raises:
        MissingError: there is no such record.
        CorruptionError, VersionError: it can't be trusted.
    """
    key = f"{layout.COMMITS}/{layout.commit_name(clip, generation)}"
    where = f"{backend.where}/{key}"
    record = CommitRecord.from_bytes(backend.read(key), where)
    if (record.clip, record.generation) != (clip, generation) or record.fingerprint != fingerprint:
        raise CorruptionError(
            "a commit record belongs to another clip or another store",
            expected=f"clip {clip}, fingerprint {fingerprint[:12]}",
            found=f"clip {record.clip} ({record.clip_id}), fingerprint {record.fingerprint[:12]}",
            where=where,
            fix=commands.repair(backend.where),
        )
    return record


def rewrite_commit(
    backend: Backend, old: CommitRecord, arrays: Mapping[str, ShardRecord], moments: Mapping[str, Moments]
) -> None:
    """Replace a commit by one of a new generation with other arrays and statistics, or by none if no array is left.

    The old record goes last: a kill in between leaves both, and what they share is the same. Call it with the store's
    metadata held and the manifest dropped.
    """
    if arrays:
        data = to_bytes(moments)
        pairs = (layout.parse_commit_name(name) for name in backend.names(layout.COMMITS))
        new = dataclasses.replace(
            old,
            generation=1 + max(pair[1] for pair in pairs if pair and pair[0] == old.clip),
            arrays=arrays,
            statistics_bytes=len(data),
            statistics_sha256=sha256_bytes(data),
        )
        backend.replace(layout.statistics_key(new.clip, new.generation), data, durable=True)
        backend.replace(new.key, new.to_bytes(), durable=True)
    backend.delete(old.key)
    backend.sync([layout.COMMITS])
