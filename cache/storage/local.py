"""Storage on a local or network file system: staged, made durable, renamed; folders are never created on the way.

Bytes are staged in `tmp/<session>/` of the same store, made durable, and renamed to their final name; a crash leaves
only files there. Since no folder is created on the way, a vanished mount is an error and never filled.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cache.storage.backend import TEMPORARY, Bytes
from cache.storage.process import this_process
from configs.errors import DISK_FIXES, CorruptionError, MissingError, StorageError

MAX_BUFFERS = 512
"""Buffers per system call; below IOV_MAX everywhere."""

MAX_BYTES = 1 << 30
"""Bytes per system call, which moves at most 2 GiB."""

MAX_OBJECT = 1 << 31
"""Bytes of an object that is read as a whole; tables of a million clips have a tenth."""


class LocalHandle:
    """An open file; closed when the last user lets go of it."""

    __slots__ = ("_file", "path", "size", "version")

    def __init__(self, path: str) -> None:
        self._file = -1
        self.path = path
        # a pipe would wait for a writer without O_NONBLOCK, which changes nothing for files
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        facts = os.fstat(self._file)
        if not stat.S_ISREG(facts.st_mode):
            raise CorruptionError("not a regular file", where=path)
        self.size = facts.st_size
        self.version = hash((facts.st_ino, facts.st_mtime_ns))

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def read_many(self, requests: Sequence[tuple[int, list[memoryview], int]]) -> None:
        """Serve several requests (offset, buffers, their bytes together), each as `read_into`."""
        preadv, file = os.preadv, self._file
        try:
            for offset, buffers, wanted in requests:
                if len(buffers) > MAX_BUFFERS or wanted > MAX_BYTES or preadv(file, buffers, offset) != wanted:
                    self.read_into(offset, buffers)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise self._error(error) from error

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill buffers one after the other with the bytes from `offset` on, in pieces where one call moves less."""
        for buffer in buffers:
            done = 0
            while done < len(buffer):
                try:
                    count = os.preadv(self._file, [buffer[done : done + MAX_BYTES]], offset)
                except OSError as error:
                    raise self._error(error) from error
                if count == 0:
                    raise CorruptionError("the file ends too early", where=self.path)
                done += count
                offset += count

    def _error(self, error: OSError) -> StorageError:
        return StorageError(f"reading failed: {error.strerror}", where=self.path, fix=DISK_FIXES.get(error.errno or 0))


class LocalBackend:
    """Objects as files below `root`.

    Args:
        root: folder of the store.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().absolute()
        self.where = str(self.root)
        self._counter = itertools.count()
        self._inside: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return (LocalBackend, (self.where,))

    def path(self, key: str) -> str:
        """Return the path of a key.

        Raises:
            CorruptionError: its folder is a link that leads out of the store.
        """
        self._confine(key.rpartition("/")[0])
        return f"{self.where}/{key}" if key else self.where

    def _confine(self, folder: str) -> None:
        """Refuse a folder that leads out of the store; looked at once, as the store's own processes make no links."""
        if folder and folder not in self._inside:
            path = f"{self.where}/{folder}"
            if not os.path.realpath(path).startswith(os.path.realpath(self.where) + os.sep):
                raise CorruptionError(
                    "a link leads out of the feature store",
                    where=path,
                    fix="put the folder itself in the place of the link, or link the whole store",
                )
            self._inside.add(folder)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn system errors into messages with advice."""
        try:
            yield
        except (CorruptionError, MissingError, StorageError):
            raise
        except OSError as error:
            path = self.path(key)
            if error.errno == errno.ELOOP:
                raise CorruptionError("a link instead of a regular file", where=path) from error
            if isinstance(error, (FileNotFoundError, NotADirectoryError)):
                if self.root.is_dir():
                    raise MissingError("no such file", where=path) from error
                raise StorageError(
                    "the folder of the feature store does not exist (any more)",
                    where=self.where,
                    fix="mount the disk again, or check the path; nothing is recreated in its place",
                ) from error
            raise StorageError(
                f"the file system reports an error: {error.strerror}", where=path, fix=DISK_FIXES.get(error.errno or 0)
            ) from error

    def stage(self, key: str) -> _LocalStage:
        """Begin to write the bytes of a key."""
        session = f"{TEMPORARY}/{this_process().session}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            temporary = f"{session}/{next(self._counter):06d}"
            with self._errors(temporary):
                try:
                    file = os.open(self.path(temporary), flags, 0o666)
                    break
                except FileExistsError:  # another store object of this process has the same counter
                    continue
                except FileNotFoundError:
                    make_folder(self.path(session))
        return _LocalStage(self, key, temporary, file)

    def create(self, key: str, data: bytes, *, durable: bool = False) -> bool:
        """Put small bytes under a key unless something is there; wait for the disk only where they must be durable."""
        stage = self.stage(key)
        try:
            stage.write(data)
            if durable:
                stage.finish()
            written = stage.publish_new()
        finally:
            stage.discard()
        if durable:
            self.sync([key.rpartition("/")[0]])
        return written

    def replace(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Put small bytes under a key, replacing what was there; wait for the disk only where they must be durable."""
        stage = self.stage(key)
        try:
            stage.write(data)
            if durable:
                stage.finish()
            stage.publish()
        finally:
            stage.discard()
        if durable:
            self.sync([key.rpartition("/")[0]])

    def sync(self, folders: Iterable[str]) -> None:
        """Make names in these folders durable."""
        for folder in folders:
            with self._errors(folder):
                directory = os.open(self.path(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
                        raise
                finally:
                    os.close(directory)

    def read(self, key: str) -> bytes:
        """Return all bytes of a key."""
        handle = self.open(key)
        if handle.size > MAX_OBJECT:
            raise CorruptionError("too large for a table or a record", found=f"{handle.size} bytes", where=handle.path)
        data = bytearray(handle.size)
        handle.read_into(0, [memoryview(data)])
        return bytes(data)

    def open(self, key: str) -> LocalHandle:
        """Return a handle on a key."""
        try:
            return LocalHandle(self.path(key))
        except OSError:
            with self._errors(key):
                raise

    def size(self, key: str) -> int | None:
        """Return the number of bytes under a key."""
        try:
            with self._errors(key):
                return os.lstat(self.path(key)).st_size
        except MissingError:
            return None

    def names(self, folder: str) -> list[str]:
        """Return the names directly below a folder."""
        if not folder and not self.root.exists():
            return []
        try:
            with self._errors(folder):
                self._confine(folder)
                return os.listdir(self.path(folder))  # noqa: PTH208
        except MissingError:
            return []

    def delete(self, key: str) -> bool:
        """Remove a key, or an empty folder."""
        try:
            with self._errors(key):
                try:
                    os.unlink(self.path(key))  # noqa: PTH108
                except (IsADirectoryError, PermissionError):
                    os.rmdir(self.path(key))  # noqa: PTH106
        except MissingError:
            return False
        return True

    def make_folders(self, folders: Iterable[str]) -> None:
        """Make folders below the root, and the root itself, durably."""
        missing: list[Path] = []
        for folder in folders:
            path = Path(self.path(folder))
            while not path.is_dir():
                missing.append(path)
                path = path.parent
        for path in sorted(set(missing), key=lambda p: len(p.parts)):
            with self._errors(str(path)):
                make_folder(str(path))
                directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)

    def modified(self, key: str) -> float | None:
        """Return when a key was written, by the clock of the file system: this machine's may differ."""
        try:
            with self._errors(key):
                return os.lstat(self.path(key)).st_mtime
        except MissingError:
            return None


def make_folder(path: str) -> None:
    """Make a folder that another job may make at the same moment."""
    try:
        os.mkdir(path)  # noqa: PTH102
    except FileExistsError:
        if not Path(path).is_dir():
            raise


class _LocalStage:
    def __init__(self, backend: LocalBackend, key: str, temporary: str, file: int) -> None:
        self._backend, self.key, self.temporary, self._file = backend, key, temporary, file
        self._pending = True

    def write(self, data: bytes | Bytes) -> None:
        rest = memoryview(data)  # type: ignore[arg-type]  # NumPy arrays are buffers
        with self._backend._errors(self.key):
            while len(rest):
                rest = rest[os.write(self._file, rest[:MAX_BYTES]) :]

    def finish(self) -> None:
        with self._backend._errors(self.key):
            os.fdatasync(self._file)
            self._close()

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)  # reports what a network file system could not write earlier

    def publish(self) -> None:
        with self._backend._errors(self.key):
            self._close()
            os.replace(self._backend.path(self.temporary), self._backend.path(self.key))  # noqa: PTH105
            self._pending = False

    def publish_new(self) -> bool:
        temporary, final = self._backend.path(self.temporary), self._backend.path(self.key)
        with self._backend._errors(self.key):
            self._close()
            try:
                os.link(temporary, final)
                os.unlink(temporary)  # noqa: PTH108
                self._pending = False
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                    raise
                # a file system without hard links: the name is claimed first, then filled atomically
                try:
                    os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
                except FileExistsError:
                    return False
                os.replace(temporary, final)  # noqa: PTH105
                self._pending = False
            return True

    def discard(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._pending:
            self._pending = False
            with suppress(OSError):  # already gone, or the disk is: what stays is removed by `spatialprobe cache prune`
                os.unlink(self._backend.path(self.temporary))  # noqa: PTH108
