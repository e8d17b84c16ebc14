"""Re-reads every byte of a store and compares it with what was recorded when it was written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from cache.format import layout, records
from cache.format.clips import ClipEntry, from_parquet
from cache.format.header import Header, load_header
from cache.format.manifest import record_digests
from cache.format.records import CommitRecord, load_commit
from cache.format.shard import check_shard
from cache.storage.backend import Backend
from configs.errors import CorruptionError, MissingError, SpatialprobeError
from configs.files import sha256_bytes


@dataclasses.dataclass(frozen=True)
class Problem:
    """One file that is not as written, or that does not belong to the store.

    Attributes:
        kind: `header`, `metadata`, `clips`, `manifest`, `backup`, `commit`, `statistics`, `shard`, `quarantine` or
            `foreign`.
        key: the file.
        message: what is wrong.
        clip, generation: of the commit concerned; -1 for none.
        array: the array concerned.
    """

    kind: str
    key: str
    message: str
    clip: int = -1
    generation: int = -1
    array: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


def verify(backend: Backend, advance: Callable[[int], None] = lambda count: None) -> list[Problem]:
    """Return all problems of a store; an empty list if every byte is as written.

    Args:
        backend: the store.
        advance: called with 1 after each commit record, for progress.

    Raises:
        StoreError: there is no store; VersionError: it has another version of the format.
    """
    try:
        header = load_header(backend)
    except CorruptionError as error:
        return [Problem("header", layout.STORE, error.problem)]
    problems, entries = _metadata(backend, header)
    shas: dict[str, str] = {}
    for name in sorted(backend.names(layout.COMMITS)):
        parsed = layout.parse_commit_name(name)
        key = f"{layout.COMMITS}/{name}"
        advance(1)
        if parsed is None:
            problems.append(Problem("foreign", key, "not a commit record"))
            continue
        try:
            shas[name] = sha256_bytes(backend.read(key))
            record = load_commit(backend, *parsed, header.fingerprint_digest)
        except MissingError:
            continue
        except SpatialprobeError as error:
            problems.append(Problem("commit", key, error.problem, *parsed))
            continue
        problems += _commit(backend, header, record, entries)
    problems += _manifest(backend, header, shas)
    problems += _quarantine(backend)
    return problems


def _metadata(backend: Backend, header: Header) -> tuple[list[Problem], list[ClipEntry] | None]:
    """Check the files whose digests `store.json` lists, and the spare copies."""
    problems = []
    entries: list[ClipEntry] | None = None
    needed = {layout.CLIPS, f"{layout.GROUP}/zarr.json"}
    needed |= {f"{layout.array_folder(spec.name)}/zarr.json" for spec in header.arrays}
    for key in sorted(needed | set(header.files) - {layout.MANIFEST}):
        kind = "clips" if key == layout.CLIPS else "metadata"
        try:
            data = backend.read(key)
        except MissingError:
            problems.append(Problem(kind, key, "is missing"))
            continue
        except CorruptionError as error:
            problems.append(Problem(kind, key, error.problem))
            continue
        if sha256_bytes(data) not in header.files.get(key, ()):
            problems.append(Problem(kind, key, "has changed since it was written"))
        elif key == layout.CLIPS:
            entries = from_parquet(data, key)
    for name in (layout.STORE, layout.CLIPS):
        key = f"{layout.BACKUP}/{name}"
        try:
            data = backend.read(key)
            intact = (
                data == header.to_bytes() if name == layout.STORE else sha256_bytes(data) in header.files[layout.CLIPS]
            )
        except (MissingError, CorruptionError):
            intact = False
        if not intact:
            problems.append(Problem("backup", key, "the spare copy is missing, out of date or changed"))
    return problems, entries


def _commit(
    backend: Backend, header: Header, record: CommitRecord, entries: list[ClipEntry] | None
) -> Iterator[Problem]:
    clip, generation = record.clip, record.generation
    if entries is not None and (clip >= len(entries) or entries[clip].clip_id != record.clip_id):
        yield Problem("commit", record.key, "names a clip that has another index in the clip table", clip, generation)
        return
    key = layout.statistics_key(clip, generation)
    try:
        data = backend.read(key)
        if sha256_bytes(data) != record.statistics_sha256:
            yield Problem(
                "statistics", key, "channel statistics have changed since they were written", clip, generation
            )
    except MissingError:
        yield Problem("statistics", key, "channel statistics are missing", clip, generation)
    except CorruptionError as error:
        yield Problem("statistics", key, error.problem, clip, generation)
    specs = {spec.name: spec for spec in header.arrays}
    for array, shard in record.arrays.items():
        if array not in specs:
            yield Problem("commit", record.key, f"names the unknown array {array}", clip, generation)
            continue
        key = layout.shard_key(array, clip)
        message = check_shard(backend, key, specs[array], shard)
        if message:
            yield Problem("shard", key, message, clip, generation, array)


def _manifest(backend: Backend, header: Header, shas: dict[str, str]) -> Iterator[Problem]:
    try:
        data = backend.read(layout.MANIFEST)
    except MissingError:
        return
    except CorruptionError as error:
        yield Problem("manifest", layout.MANIFEST, error.problem)
        return
    if sha256_bytes(data) not in header.files.get(layout.MANIFEST, ()):
        yield Problem("manifest", layout.MANIFEST, "has changed since it was written")
        return
    for name, sha in record_digests(data, layout.MANIFEST).items():
        if name not in shas:
            yield Problem("manifest", layout.MANIFEST, f"names the commit {name}, which is gone")
        elif shas[name] != sha:
            yield Problem("manifest", layout.MANIFEST, f"was made from a different version of {name}")


def _quarantine(backend: Backend) -> Iterator[Problem]:
    for name in sorted(backend.names(layout.QUARANTINE)):
        key = f"{layout.QUARANTINE}/{name}"
        try:
            records.parse(backend.read(key), key)
        except MissingError:
            continue
        except SpatialprobeError as error:
            yield Problem("quarantine", key, error.problem)
