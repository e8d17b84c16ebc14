"""SHA-256 of the files of a snapshot: all bytes, read once and then remembered, checked against the hub's own hashes.

A hash is remembered in a small file of its own, under everything that tells whether the bytes can have changed: path,
size, times of the last change of content and of the file's entry, inode, device. So writers never get in each other's
way, and a damaged memory is noticed and computed anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from configs.console import Progress, format_bytes, format_seconds, get_logger
from configs.errors import ModelError, StorageError
from configs.files import json_bytes, read_regular, write_atomic
from configs.identity import digest
from configs.machine import available_cores

PIECE = 16_000_000
"""Bytes read at a time."""
MEGABYTE = 1_000_000
LARGE = 100 * MEGABYTE
"""Bytes from which on the user is shown how far reading is, and what it took."""
SETTLED_S = 2.0
"""A file changed less than so long ago isn't remembered: another change could fall into the same tick of its clock."""


def file_hashes(files: Sequence[Path], memory: Path | None) -> dict[Path, str]:
    """Return file -> SHA-256 of all its bytes; only what is not remembered is read.

    Args:
        files: regular files, or links to them.
        memory: folder in which hashes are remembered; None remembers nothing.

    Raises:
        ModelError: a file is changed while it is read.
        StorageError: a file can't be read.
    """
    asked = time.time()
    entries = {file: _entry(file) for file in files}
    found = {file: known for file, entry in entries.items() if (known := _recall(memory, entry))}
    unknown = [file for file in files if file not in found]
    if not unknown:
        return found
    size = sum(int(entries[file]["size"]) for file in unknown)
    units = sum(-(-int(entries[file]["size"]) // MEGABYTE) for file in unknown)
    started = time.perf_counter()
    log = get_logger("extract")
    with (
        Progress(units, "hash of the weights", "MB", log=log, quiet=size < LARGE) as bar,
        ThreadPoolExecutor(min(8, available_cores(), len(unknown))) as pool,
    ):
        found |= zip(unknown, pool.map(lambda file: hash_file(file, bar.advance), unknown), strict=True)
    seconds = time.perf_counter() - started
    for file in unknown:
        if _entry(file) != entries[file]:
            raise ModelError(
                "a file of the weights was changed while it was read",
                where=file,
                fix="wait until nothing writes there, then run the same command again",
            )
        if asked - max(entries[file]["mtime_ns"], entries[file]["ctime_ns"]) / 1e9 >= SETTLED_S:
            _remember(memory, entries[file], found[file])
    if size >= LARGE:
        kept = f"; remembered in {memory}, so they are read once" if memory else ""
        rate = format_bytes(size / max(seconds, 1e-9))
        log.info("hashed %s of weights in %s, %s/s%s", format_bytes(size), format_seconds(seconds), rate, kept)
    return {file: found[file] for file in files}


def combined(hashes: Mapping[str, str]) -> str:
    """Return one SHA-256 over the names of files and their hashes."""
    return hashlib.sha256("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()).hexdigest()


def unverified(files: Sequence[Path], blobs: Path, memory: Path | None, fix: str) -> list[Path]:
    """Check files of the hub's cache against the hashes that it keeps; return those of which it keeps none.

    The cache stores what it downloads under the hash that the hub states: SHA-256 for large files, Git's SHA-1 for
    small ones. A snapshot's files are links to these.

    Args:
        files: files of a snapshot.
        blobs: folder of the downloaded files.
        memory: see `file_hashes`.
        fix: what downloads a file again, for the message.

    Raises:
        ModelError: the bytes of a file are not those that were downloaded; the message says what to do.
    """
    stored = {file: file.resolve() for file in files}
    stated = {file: blob.name for file, blob in stored.items() if blob.parent == blobs.resolve()}
    large = [file for file, name in stated.items() if re.fullmatch(r"[0-9a-f]{64}", name)]
    small = [file for file, name in stated.items() if re.fullmatch(r"[0-9a-f]{40}", name)]
    found = file_hashes(large, memory) | {file: _git_hash(file) for file in small}
    for file, computed in found.items():
        if computed != stated[file]:
            raise ModelError(
                "a file of the weights is damaged: its bytes are not those that were downloaded",
                where=file,
                expected=stated[file],
                found=computed,
                fix=f"rm {stored[file]} {file}\n            {fix}",
            )
    return [file for file in files if file not in found]


def _git_hash(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def hash_file(file: Path, advance: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file; `advance` is called with the bytes of each piece."""
    total, done = hashlib.sha256(), 0
    piece = bytearray(PIECE)
    view = memoryview(piece)
    try:
        with file.open("rb", buffering=0) as handle:
            while count := handle.readinto(piece):
                total.update(view[:count])
                advance(-(-(done + count) // MEGABYTE) - -(-done // MEGABYTE))
                done += count
    except OSError as error:
        raise StorageError("a file of the weights can't be read", where=file, found=error.strerror) from error
    return total.hexdigest()


def _entry(file: Path) -> dict[str, Any]:
    """What is known of a file without reading it; equal as long as its bytes are."""
    real = file.resolve()
    facts = real.stat()
    return {
        "path": str(real),
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "ctime_ns": facts.st_ctime_ns,  # `touch -r` and copies that keep the time leave a trace here
        "inode": facts.st_ino,
        "device": facts.st_dev,
    }


def _place(memory: Path, entry: Mapping[str, Any]) -> Path:
    return memory / f"{digest(entry['path'])[:32]}.json"


def _recall(memory: Path | None, entry: Mapping[str, Any]) -> str | None:
    """Return the hash remembered for a file as it is now; None if there is none that can be trusted."""
    if memory is None:
        return None
    try:
        record = json.loads(read_regular(_place(memory, entry)))
        known = str(record["sha256"])
        return known if record == _record(entry, known) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _remember(memory: Path | None, entry: Mapping[str, Any], sha256: str) -> None:
    if memory is None:
        return
    try:
        write_atomic(_place(memory, entry), json_bytes(_record(entry, sha256)))
    except OSError as error:
        get_logger("extract").warning("the hashes of the weights can't be remembered in %s: %s", memory, error)


def _record(entry: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    return {**entry, "sha256": sha256, "check": digest({**entry, "sha256": sha256})}
