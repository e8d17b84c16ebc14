"""The exceptions of the whole project, in one file.

Every message says what is wrong and, where it applies, what was expected, what was found, where, and the command
that fixes it. Each class also derives from the builtin that a caller would catch without knowing this module.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "DISK_FIXES",
    "ConfigError",
    "CorruptionError",
    "DatasetError",
    "MissingError",
    "ModelError",
    "NonFiniteError",
    "SpatialprobeError",
    "StaleError",
    "StorageError",
    "StoreError",
    "VersionError",
    "malformed",
    "version_fix",
]

DISK_FIXES = {
    errno.ENOSPC: "free some space or choose another disk with root=...; the same command then continues",
    errno.EDQUOT: "the quota is used up: free some space or choose another disk; the same command then continues",
    errno.EROFS: "the file system is mounted read-only: remount it, or choose another place with root=...",
    errno.EACCES: "no permission: change the owner or mode, or choose another place with root=...",
    errno.EPERM: "no permission: change the owner or mode, or choose another place with root=...",
    errno.EIO: "the disk reports errors: check it, then verify what is stored on it",
    errno.ESTALE: "the network mount has changed: remount it, then run the same command again",
    errno.ENOTCONN: "the network mount is gone: remount it, then run the same command again",
    errno.EMFILE: "too many open files: raise the limit with `ulimit -n`",
    errno.EFBIG: "the file would exceed the size limit of this process or file system: see `ulimit -f`",
}
"""What helps after an error of the file system, by system error number."""


class SpatialprobeError(Exception):
    """Base of all errors that the project raises deliberately.

    Args:
        problem: one sentence that says what is wrong.
        expected: what would have been valid.
        found: what was there instead.
        where: the file, key or clip concerned.
        fix: the command or edit that helps.
    """

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        where: str | os.PathLike[str] | None = None,
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.expected = expected
        self.found = found
        self.where = Path(where) if isinstance(where, os.PathLike) else where
        self.fix = fix
        details = [("where", self.where), ("expected", expected), ("found", found), ("fix", fix)]
        lines = [problem] + [f"  {name + ':':<10}{value}" for name, value in details if value is not None]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep all fields when pickled between worker processes."""
        return (_rebuild, (type(self), self.problem, self.expected, self.found, self.where, self.fix))


def _rebuild(
    kind: type[SpatialprobeError], problem: str, expected: object, found: object, where: str | None, fix: str | None
) -> SpatialprobeError:
    return kind(problem, expected=expected, found=found, where=where, fix=fix)


class ConfigError(SpatialprobeError, ValueError):
    """A key, name or value of the configuration is wrong."""


class DatasetError(SpatialprobeError, ValueError):
    """A prepared dataset, or raw data offered to an importer, can't be used as it is."""


class StoreError(SpatialprobeError, RuntimeError):
    """A feature store is missing, ambiguous or used against its contract."""


class ModelError(SpatialprobeError, RuntimeError):
    """A backbone or its weights can't be loaded or run."""


class MissingError(SpatialprobeError, LookupError):
    """Something requested by name doesn't exist: a clip, an array, a row, a label, a file."""


class StaleError(SpatialprobeError, ValueError):
    """What is on disk was made with parameters other than the requested ones."""


class VersionError(SpatialprobeError, ValueError):
    """A file was written by another, usually newer, version of the format."""


class CorruptionError(SpatialprobeError, ValueError):
    """Bytes on disk are not the bytes that were written."""


class NonFiniteError(SpatialprobeError, ValueError):
    """NaN or infinite values where only finite ones are legal."""


class StorageError(SpatialprobeError, OSError):
    """The file system reports an error: full disk, read-only directory, vanished mount."""


@contextmanager
def malformed(problem: str, where: str | os.PathLike[str], fix: str | None = None) -> Iterator[None]:
    """Turn what Python raises about values of a wrong type, size or place in a file into an error that names the file.

    A digest shows that a file is as it was written, not that this project wrote it.

    Args:
        problem: what is wrong with the file.
        where: the file.
        fix: what helps.

    Raises:
        CorruptionError: `problem`, with what was raised.
    """
    try:
        yield
    except SpatialprobeError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        found = f"{type(error).__name__}: {error}"
        shown = found if len(found) <= 300 else f"{found[:300]} ..."
        raise CorruptionError(problem, found=shown, where=where, fix=fix) from error


def version_fix(found: object, known: int, older: str) -> str:
    """Return what helps with a file of another version: an update for a newer one, which is never to be deleted.

    Args:
        found: version in the file.
        known: version that this program writes.
        older: what helps with an older file.
    """
    return "update spatialprobe: a newer version wrote this" if isinstance(found, int) and found > known else older
