"""One open file of a local store, and what to do about the errors of a file system."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from configs.errors import CorruptionError, StorageError

MAX_BUFFERS = 512
"""Buffers per system call; below IOV_MAX everywhere."""

MAX_BYTES = 1 << 30
"""Bytes per system call, which moves at most 2 GiB."""

FIXES = {
    errno.ENOSPC: "free some space or choose another disk with root=...; the same command then continues",
    errno.EDQUOT: "the quota is used up: free some space or choose another disk; the same command then continues",
    errno.EROFS: "the file system is mounted read-only: remount it, or choose another place with root=...",
    errno.EACCES: "no permission: change the owner or mode, or choose another place with root=...",
    errno.EPERM: "no permission: change the owner or mode, or choose another place with root=...",
    errno.EIO: "the disk reports errors: check it, then run `python -m cache verify`",
    errno.ESTALE: "the network mount has changed: remount it, then run the same command again",
    errno.ENOTCONN: "the network mount is gone: remount it, then run the same command again",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n`",
    errno.EFBIG: "the file would exceed the size limit of this process or file system: see `ulimit -f`",
}
"""What helps, by system error number."""


class LocalHandle:
    """An open file; closed when the last user lets go of it."""

    __slots__ = ("_file", "path", "size")

    def __init__(self, path: str) -> None:
        self._file = -1
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._file).st_size

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
        return StorageError(f"reading failed: {error.strerror}", where=self.path, fix=FIXES.get(error.errno or 0))
