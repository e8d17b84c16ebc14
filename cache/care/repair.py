"""Removes broken clips from the committed set, so that extraction redoes just those, and restores metadata."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from cache.care.seal import drop
from cache.care.verify import Problem, verify
from cache.create import exclusive
from cache.format import clips, layout
from cache.format.header import Header, load_header
from cache.format.moments import Moments, MomentsBuilder
from cache.format.records import ShardRecord, load_commit, rewrite_commit
from cache.format.shard import read_row
from cache.format.spec import ArraySpec
from cache.lease import LeaseBoard
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError, MissingError, SpatialprobeError, StoreError, VersionError
from configs.files import sha256_bytes


def repair(backend: Backend, board: LeaseBoard, problems: Sequence[Problem] | None = None) -> list[str]:
    """Repair what `verify` found; return what was done, one line each.

    Broken arrays lose their commit, metadata is written again from `store.json`, `store.json` and the clip table come
    back from their spare copies. Intact arrays are never touched, and no features are deleted.

    Args:
        backend: the store.
        board: leases of this process.
        problems: what `verify` returned; run here if not given.

    Raises:
        CorruptionError: both copies of `store.json` or of the clip table are lost.
    """
    with exclusive(backend, board):
        done = _restore_header(backend)
        header = load_header(backend)
        if problems is None or done:
            problems = verify(backend)
        kinds = defaultdict(list)
        for problem in problems:
            kinds[problem.kind].append(problem)
        if kinds["commit"] or kinds["shard"] or kinds["statistics"] or kinds["manifest"]:
            drop(backend)
        for problem in kinds["clips"]:
            done.append(_restore_clips(backend, header, problem))
        for problem in kinds["metadata"]:
            done.append(_rewrite_metadata(backend, header, problem))
        for problem in kinds["commit"]:
            backend.delete(problem.key)
            done.append(f"{problem.key}: removed, it is not valid")
        broken = defaultdict(list)
        for problem in [*kinds["shard"], *kinds["statistics"]]:
            broken[problem.clip, problem.generation].append(problem)
        for (clip, generation), found in sorted(broken.items()):
            lease = board.take(f"{clip:08d}")
            if lease is None:
                done.append(f"clip {clip}: is being written by {board.holder(f'{clip:08d}')}; run repair again")
                continue
            with lease:
                done.append(_reduce(backend, header, clip, generation, found))
        for problem in kinds["quarantine"]:
            backend.delete(problem.key)
            done.append(f"{problem.key}: removed, the clip will be tried again")
        done += [f"{problem.key}: left alone, {problem.message}; delete it by hand" for problem in kinds["foreign"]]
        backend.sync([layout.COMMITS, layout.QUARANTINE])
        if kinds["manifest"]:
            done.append(f"{layout.MANIFEST}: removed, `seal` makes a new one")
        backend.replace(f"{layout.BACKUP}/{layout.STORE}", header.to_bytes(), durable=True)
        backend.replace(f"{layout.BACKUP}/{layout.CLIPS}", backend.read(layout.CLIPS), durable=True)
        if kinds["backup"]:
            done.append(f"{layout.BACKUP}: copied again")
    return done


def _restore_header(backend: Backend) -> list[str]:
    try:
        load_header(backend)
    except VersionError:
        raise
    except (CorruptionError, StoreError) as problem:
        key = f"{layout.BACKUP}/{layout.STORE}"
        try:
            data = backend.read(key)
            Header.from_bytes(data, key)
        except SpatialprobeError:
            raise problem from None
        backend.replace(layout.STORE, data, durable=True)
        return [f"{layout.STORE}: restored from its spare copy"]
    return []


def _restore_clips(backend: Backend, header: Header, problem: Problem) -> str:
    key = f"{layout.BACKUP}/{layout.CLIPS}"
    try:
        data = backend.read(key)
    except MissingError:
        data = b""
    if sha256_bytes(data) not in header.files.get(layout.CLIPS, ()):
        raise CorruptionError(
            "both copies of the clip table are lost",
            where=f"{backend.where}/{problem.key}",
            fix="restore clips.parquet from a backup; commits/*.json say which clip has which index",
        )
    backend.replace(layout.CLIPS, data, durable=True)
    return f"{problem.key}: restored from its spare copy"


def _rewrite_metadata(backend: Backend, header: Header, problem: Problem) -> str:
    count = len(clips.from_parquet(backend.read(layout.CLIPS), layout.CLIPS))
    written = {f"{layout.GROUP}/zarr.json": layout.group_metadata(header.identity)}
    for spec in header.arrays:
        written[f"{layout.array_folder(spec.name)}/zarr.json"] = layout.array_metadata(spec, count)
    data = written.get(problem.key)
    if data is None or sha256_bytes(data) not in header.files.get(problem.key, ()):
        raise CorruptionError(
            f"{problem.key} can't be rebuilt by this version of the project",
            where=f"{backend.where}/{problem.key}",
            fix=f"run the same `{commands.extract('run')}` command again: it rewrites the metadata",
        )
    backend.make_folders([problem.key.rpartition("/")[0]])
    backend.replace(problem.key, data, durable=True)
    return f"{problem.key}: written again from {layout.STORE}"


def _reduce(backend: Backend, header: Header, clip: int, generation: int, found: Sequence[Problem]) -> str:
    """Replace one commit by a new one without the broken arrays, its statistics computed again from the shards."""
    record = load_commit(backend, clip, generation, header.fingerprint_digest)
    lost = {problem.array for problem in found if problem.kind == "shard"}
    kept = {name: shard for name, shard in record.arrays.items() if name not in lost}
    specs = {spec.name: spec for spec in header.arrays}
    moments = {name: _moments(backend, clip, specs[name], shard) for name, shard in kept.items()}
    rewrite_commit(backend, record, kept, moments)
    if not lost:
        return f"clip {record.clip_id}: channel statistics computed again from its features"
    return f"clip {record.clip_id}: {', '.join(sorted(lost))} removed ({found[0].message}); extraction will redo it"


def _moments(backend: Backend, clip: int, spec: ArraySpec, shard: ShardRecord) -> Moments:
    handle = backend.open(layout.shard_key(spec.name, clip))
    builder = MomentsBuilder(spec.channels, spec.dtype)
    for row in range(spec.rows):
        builder.add(read_row(handle, spec, shard, row))
    return builder.moments
