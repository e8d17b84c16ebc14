"""Raw folders, zip archives and JSON files, read strictly inside themselves."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from configs.errors import DatasetError, MissingError

MAX_FILE_BYTES = 1 << 30
"""Largest single file that is read into memory."""
MAX_MEMBERS = 200_000
MAX_RATIO = 1100
"""Above what Deflate can reach on honest data (1032:1); only checked for members above a mebibyte."""
_ILLEGAL = re.compile(r"[\x00-\x1f\\]|^[A-Za-z]:")
MAX_JSON_BYTES = 1 << 28


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that counts: frame2 comes before frame10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), part) if part.isdigit() else (0, 0, part) for part in parts]


def check_name(name: str, where: str | PathLike[str]) -> PurePosixPath:
    """Return a relative name that can't lead out of its root by its letters.

    Raises:
        DatasetError: empty, absolute, with `..`, a drive letter, a backslash or a control character.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or _ILLEGAL.search(name):
        raise DatasetError(
            "a name that leads out of its folder, or is not a name", expected="a relative path without ..",
            found=repr(name)[:200], where=where,
        )  # fmt: skip
    return path


class RawFolder:
    """A folder of raw data; nothing outside it is read, whatever names and links inside say.

    Args:
        root: the folder; it may itself be a link.

    Raises:
        MissingError: there is no such folder.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root).absolute()
        if not self.root.is_dir():
            raise MissingError("no such folder", where=self.root, fix="check the path given as raw=")

    def path(self, name: str | PathLike[str]) -> Path:
        """Return the path of a file or folder inside, whether it exists or not.

        Raises:
            DatasetError: the name, or a symbolic link on the way, leads out of the root or in a circle.
        """
        path = self.root / check_name(PurePosixPath(name).as_posix(), self.root)
        try:
            real = path.resolve()
            path.exists()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long or not of this system
            raise DatasetError(f"can't be looked up: {error}", where=repr(str(path))[:300]) from error
        if not real.is_relative_to(self.root.resolve()):
            raise DatasetError(
                "a symbolic link that leads out of the raw data", where=path, found=f"-> {real}",
                fix="copy the file into the folder, or give the folder it points into as raw=",
            )  # fmt: skip
        return path

    def exists(self, name: str | PathLike[str]) -> bool:
        """Return whether there is a file or folder of that name inside."""
        return self.path(name).exists()

    def read(self, name: str | PathLike[str], *, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file.

        Raises:
            MissingError: no such file.
            DatasetError: it leads out, is not a regular file, or is larger than `limit` bytes.
        """
        path = self.path(name)
        if not path.exists():
            raise MissingError("a file of the raw data is missing", where=path)
        if not path.is_file():
            raise DatasetError("not a regular file", where=path)
        if (size := path.stat().st_size) > limit:
            raise DatasetError("file too large", expected=f"at most {limit} bytes", found=size, where=path)
        return path.read_bytes()

    def names(self, folder: str | PathLike[str] = ".", *, suffixes: tuple[str, ...] = ()) -> list[str]:
        """Return the names of the files in a folder, in natural order; not recursive, hidden files left out.

        Args:
            folder: relative to the root, "." for the root itself.
            suffixes: lower-case endings with dot; empty for all files.

        Raises:
            MissingError: no such folder.
        """
        path = self.path(folder)
        if not path.is_dir():
            raise MissingError("a folder of the raw data is missing", where=path)
        found = [p.name for p in path.iterdir() if not p.name.startswith(".") and not p.is_dir()]
        return sorted((n for n in found if not suffixes or n.lower().endswith(suffixes)), key=natural_key)

    def folders(self, folder: str | PathLike[str] = ".") -> list[str]:
        """Return the names of the folders in a folder, in natural order; hidden ones left out.

        Raises:
            MissingError: no such folder.
        """
        path = self.path(folder)
        if not path.is_dir():
            raise MissingError("a folder of the raw data is missing", where=path)
        return sorted((p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)


class RawZip:
    """A zip archive whose members are read into memory, one at a time; nothing is ever extracted to disk.

    The whole directory is checked when the archive is opened: one bad name and the whole archive is refused.

    Args:
        path: the archive.
        limit: largest member in bytes after decompression.

    Raises:
        MissingError: no such file.
        DatasetError: not a zip, cut off, encrypted, or with names that repeat or lead out, links, or
            members that are too large.
    """

    def __init__(self, path: str | PathLike[str], *, limit: int = MAX_FILE_BYTES) -> None:
        self.file, self._limit = Path(path), limit
        if not self.file.is_file():
            raise MissingError("an archive of the raw data is missing", where=self.file)
        try:
            self._zip = zipfile.ZipFile(self.file)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
            found = "an empty file" if self.file.stat().st_size == 0 else str(error)
            raise DatasetError(
                "not a whole zip archive; cut off, perhaps", found=found, where=self.file, fix="copy the file again"
            ) from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            for member in self._zip.infolist():
                self._check(member)
                if not member.is_dir():
                    self._members[member.filename] = member
            if len(self._members) > MAX_MEMBERS:
                raise DatasetError(
                    "archive with too many members", found=f"{len(self._members)} members", where=self.file
                )
        except BaseException:
            self._zip.close()
            raise

    def _check(self, member: zipfile.ZipInfo) -> None:
        where = f"{self.file}:{member.filename}"
        check_name(member.orig_filename.rstrip("/"), where)
        if member.filename in self._members:
            raise DatasetError("an archive with two members of one name", where=where, fix="pack the archive again")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DatasetError("an archive with a symbolic link in it", where=where, fix="pack the file itself")
        if member.flag_bits & 1:
            raise DatasetError("an encrypted archive", where=where, fix="pack it without a password")
        bomb = member.file_size > 1 << 20 and member.file_size > MAX_RATIO * max(1, member.compress_size)
        if member.file_size > self._limit or bomb:
            raise DatasetError(
                "archive member too large", expected=f"at most {self._limit} bytes",
                found=f"{member.file_size} bytes from {member.compress_size}", where=where,
            )  # fmt: skip

    @cached_property
    def names(self) -> list[str]:
        """Names of all members that are files, in natural order."""
        return sorted(self._members, key=natural_key)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """Return the content of a member, checked against its checksum.

        Raises:
            MissingError: no such member.
            DatasetError: it is cut off or damaged.
        """
        if name not in self._members:
            raise MissingError("a member of an archive is missing", where=f"{self.file}:{name}")
        try:
            return self._zip.read(self._members[name])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise DatasetError(
                f"a damaged member of an archive: {error}", where=f"{self.file}:{name}", fix="copy the archive again"
            ) from error

    def __enter__(self) -> RawZip:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


def parse_json(content: bytes, where: str | PathLike[str]) -> Any:
    """Return the value of a JSON text.

    Args:
        content: UTF-8, with or without a byte order mark.
        where: path for messages.

    Raises:
        DatasetError: empty, not JSON, with NaN or infinite numbers, or with a key that repeats in one object.
    """
    if not content.strip():
        raise DatasetError("an empty file", expected="JSON", where=where)
    if len(content) > MAX_JSON_BYTES:
        raise DatasetError("JSON file too large", found=f"{len(content)} bytes", where=where)

    def constant(name: str) -> float:
        raise DatasetError(f"{name} is not a valid JSON number", where=where, fix="write null, or leave the entry out")

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else constant(text)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            names = [key for key, _ in items]
            twice = sorted({key for key in names if names.count(key) > 1})
            raise DatasetError("a key that repeats in one object", found=", ".join(twice)[:200], where=where)
        return result

    try:
        text = content.decode("utf-8-sig")
        return json.loads(text, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)
    except DatasetError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise DatasetError(f"not a readable JSON file: {error}", where=where) from error


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
