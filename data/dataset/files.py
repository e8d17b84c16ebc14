"""Files that are either whole or not there: atomic, durable writes, and digests of files and folders."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import CorruptionError, MissingError
from configs.files import TEMPORARY_PREFIX, fsync_path, temporary_name

STALE_AFTER_S = 3600.0


def write_once(path: Path, content: bytes) -> bool:
    """Write a file unless it exists; return whether this call wrote it. Of several processes exactly one wins."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    fsync_path(path.parent)
    return True


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that becomes `path` when the block ends without an error.

    If another process put its own folder there first, that one stays and this one is dropped: both were made from the
    same parameters, so they hold the same bytes.
    """
    temporary = path.with_name(temporary_name(path.name))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            fsync_path(file)
        fsync_path(temporary)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    fsync_path(path.parent)


def remove_stale(folder: Path) -> int:
    """Delete temporaries that a killed process left in `folder`; return how many.

    Those of a live process on this machine are kept; those of other machines until they are an hour old.
    """
    removed = 0
    here = socket.gethostname()
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        try:
            host, pid, _ = path.name.rsplit("-", 2)
            if host.endswith(here):
                stale = not Path(f"/proc/{int(pid)}").exists() if Path("/proc").is_dir() else _old(path)
            else:
                stale = _old(path)
        except (ValueError, FileNotFoundError):
            continue
        if stale:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            removed += 1
    return removed


def _old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > STALE_AFTER_S


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of some bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path) -> dict[str, str]:
    """Return relative path -> SHA-256 of every file below a folder, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def sizes_of(paths: Iterable[Path]) -> list[list[Any]]:
    """Return [name, bytes] of files, of a folder those of all files in it, [name, None] where there is nothing.

    For a cheap look at whether raw data has changed: no content is read, and times don't count, since copies lose them.
    """
    sizes: list[list[Any]] = []
    for path in paths:
        if path.is_dir():
            with os.scandir(path) as entries:
                sizes += sorted([entry.name, entry.stat().st_size] for entry in entries if entry.is_file())
        else:
            sizes.append([path.name, path.stat().st_size if path.exists() else None])
    return sizes


def json_bytes(value: Any) -> bytes:
    """Return JSON for people: indented, sorted, one newline at the end."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path, *, fix: str | Callable[[], str]) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Args:
        path: the file.
        fix: what to do if it is missing or broken; called only then, if it takes looking for.

    Raises:
        MissingError: no such file.
        CorruptionError: not JSON, or not a mapping.
    """
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("no such file", where=path, fix=_told(fix)) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise CorruptionError(f"not a readable JSON file: {error}", where=path, fix=_told(fix)) from error
    if not isinstance(value, dict):
        raise CorruptionError("a JSON object was expected", found=type(value).__name__, where=path, fix=_told(fix))
    return value


def _told(fix: str | Callable[[], str]) -> str:
    return fix if isinstance(fix, str) else fix()
