"""Where everything produced goes, and files and folders that are either whole or not there.

One artifact root with the same folders below it for every stage; digests, sizes and free space.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, CorruptionError, MissingError

ROOT_VARIABLE = "SPATIALPROBE_HOME"
"""Environment variable that moves the artifact root; the option `root=` wins over it."""


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_SOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]{0,199}")


def is_path_name(name: object, *, joined: bool = False) -> bool:
    """Return whether a name can be one part of a path: no slashes, no spaces, no leading dot, not too long.

    Args:
        name: of a dataset, a clip, a source.
        joined: whether it may be that of several sources, with `+`, `@` and `~`.
    """
    return isinstance(name, str) and (_SOURCE if joined else _NAME).fullmatch(name) is not None


def unusable_names(names: Iterable[str | None]) -> list[str | None]:
    """Return those of many names for which `is_path_name` is false; 10,000 take a few milliseconds."""
    match = _NAME.fullmatch
    return [name for name in names if name is None or match(name) is None]


def artifact_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute artifact root: `root`, else `$SPATIALPROBE_HOME`, else `./artifacts`."""
    chosen = root or os.environ.get(ROOT_VARIABLE) or "artifacts"
    return Path(chosen).expanduser().absolute()


def dataset_path(root: str | os.PathLike[str] | None, dataset: str) -> Path:
    """Folder of one prepared dataset.

    Raises:
        ConfigError: the name would lead elsewhere.
    """
    return artifact_root(root) / "datasets" / _path_name("dataset", dataset)


def features_path(root: str | os.PathLike[str] | None, dataset: str | None = None, source: str | None = None) -> Path:
    """Folder of all feature stores, of those of one dataset, or of one source; each has one folder per fingerprint.

    Raises:
        ConfigError: a name would lead elsewhere.
    """
    path = artifact_root(root) / "features"
    for what, part in (("dataset", dataset), ("source", source)):
        if part is None:
            break
        path = path / _path_name(what, part)
    return path


def _path_name(what: str, name: str) -> str:
    joined = what == "source"
    if not is_path_name(name, joined=joined):
        raise ConfigError(
            f"not a usable name of a {what}", found=repr(name), fix=f"choose another {what}=...",
            expected="letters, digits, _ - and ." + " and, between sources, + @ ~" * joined,
        )  # fmt: skip
    return name


def runs_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of probe runs, one sub-folder per run id."""
    return artifact_root(root) / "runs"


def results_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of result files, one per run, compacted to `results.parquet`."""
    return artifact_root(root) / "results"


def logs_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of log files, one per command."""
    return artifact_root(root) / "logs"


TEMPORARY_PREFIX = ".tmp-"
"""How names of work in progress begin."""
STALE_AFTER_S = 3600.0
"""Age after which work in progress of another machine is taken for abandoned."""


def fsync_path(path: Path) -> None:
    """Force one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(name: str) -> str:
    """Return a name for work in progress that no other process or machine uses."""
    return f"{TEMPORARY_PREFIX}{name}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` when the block ends without an error.

    Readers see the old file or the new one, and the new one survives a power cut. The folder is made if need be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file; see `atomic_file`."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


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
def atomic_folder(path: Path, *, keep_other: bool = True, durable: bool = True) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that becomes `path` when the block ends without an error.

    Args:
        path: the folder; the one above it is made if need be.
        keep_other: what happens if another process puts its own, non-empty folder there first. True keeps that one and
            drops this one, for contents that depend on parameters alone; False raises the OSError of the rename.
        durable: force every file to the disk first; not needed for what can be made again.
    """
    temporary = path.with_name(temporary_name(path.name))
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if durable:
            for file in temporary.rglob("*"):
                fsync_path(file)
            fsync_path(temporary)
        try:
            temporary.rename(path)
        except OSError:
            if not (keep_other and path.is_dir()):
                raise
    finally:
        if temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    if durable:
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
    """Return the SHA-256 of some bytes, 64 hexadecimal characters."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_regular(path: Path) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        CorruptionError: a pipe, which would be waited for, a folder or a device stands in its place.
        OSError: it is missing or can't be read.
    """
    # a pipe would wait for a writer without O_NONBLOCK, which changes nothing for files
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CorruptionError("not a regular file", where=path)
        return file.read()


def write_with_digest(path: Path, content: bytes) -> None:
    """Write a file and, before it, its SHA-256 into `<name>.sha256` beside it, as the tool `sha256sum` has it."""
    write_atomic(_digest_file(path), f"{sha256_bytes(content)}  {path.name}\n".encode())
    write_atomic(path, content)


def read_with_digest(path: Path, *, fix: str) -> bytes:
    """Return the bytes of a file that `write_with_digest` wrote.

    Raises:
        MissingError: no such file.
        CorruptionError: a byte of it or of its digest has changed.
    """
    beside = _digest_file(path)
    try:
        content = read_regular(path)
        known = beside.read_bytes() if beside.is_file() else b""
    except FileNotFoundError:
        raise MissingError("no such file", where=path, fix=fix) from None
    if known != f"{sha256_bytes(content)}  {path.name}\n".encode():
        raise CorruptionError(f"the digest in {beside.name} is not that of the file", where=path, fix=fix)
    return content


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def file_digests(folder: Path) -> dict[str, str]:
    """Return relative path -> SHA-256 of every file below a folder, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes free for this user on the file system that holds, or will hold, a path."""
    return shutil.disk_usage(existing_part(path)).free


def existing_part(path: str | os.PathLike[str]) -> Path:
    """Return a path, or the nearest one above it that exists."""
    place = Path(path).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return place


def json_bytes(value: Any) -> bytes:
    """Return JSON for people: indented, sorted, one newline at the end."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


_SEAL, _SEALED = b',\n "digest": "', b'"\n}\n'


def sealed(text: bytes) -> bytes:
    """Return a JSON object with one more member: the SHA-256 of the bytes before it, as its last line.

    Args:
        text: the object, at least one member, indented by 1, without a newline at its end.
    """
    body = text.removesuffix(b"\n}")
    return body + _SEAL + sha256_bytes(body).encode() + _SEALED


def sealed_json(value: Any) -> bytes:
    """Return JSON for people like `json_bytes`, sealed."""
    return sealed(json_bytes(value).removesuffix(b"\n"))


def is_sealed(data: bytes) -> bool:
    """Return whether bytes are what `sealed` made: any other byte, also a space, makes it False."""
    body, _, seal = data.rpartition(_SEAL)
    return seal == sha256_bytes(body).encode() + _SEALED


def read_json(path: Path, *, fix: str | Callable[[], str]) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Args:
        path: the file.
        fix: what to do if it is missing or broken; called only then, if it takes looking for.

    Raises:
        MissingError: no such file.
        CorruptionError: not JSON, or not a mapping.
    """
    return _mapping(path, fix)[0]


def read_sealed(
    path: Path, *, fix: str | Callable[[], str], check: Callable[[dict[str, Any]], None] = lambda _: None
) -> dict[str, Any]:
    """Return the mapping in a JSON file that `sealed` made, without the digest.

    Args:
        path: the file.
        fix: as in `read_json`.
        check: called before the digest is compared, to refuse files of other versions.

    Raises:
        MissingError: no such file.
        CorruptionError: a byte of it has changed.
    """
    value, data = _mapping(path, fix)
    check(value)
    if not is_sealed(data):
        raise CorruptionError(
            f"{path.name} was changed by hand or damaged: its digest is not that of its bytes",
            where=path, fix=_text(fix),
        )  # fmt: skip
    del value["digest"]
    return value


def _mapping(path: Path, fix: str | Callable[[], str]) -> tuple[dict[str, Any], bytes]:
    try:
        if path.exists() and not path.is_file():
            raise ValueError("not a regular file")
        data = path.read_bytes()
        value = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError("no such file", where=path, fix=_text(fix)) from None
    except (ValueError, RecursionError) as error:
        raise CorruptionError(f"not a readable JSON file: {error}", where=path, fix=_text(fix)) from error
    if not isinstance(value, dict):
        raise CorruptionError("a JSON object was expected", found=type(value).__name__, where=path, fix=_text(fix))
    return value, data


def _text(fix: str | Callable[[], str]) -> str:
    return fix if isinstance(fix, str) else fix()
