"""`store.json`: the identity of a store, its arrays, and the digests of the metadata files beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cache.format import layout, records
from cache.format.spec import ArraySpec
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError, MissingError, StoreError
from configs.files import is_path_name, sha256_bytes
from configs.identity import differences, digest


@dataclasses.dataclass(frozen=True)
class Header:
    """The content of `store.json`.

    Attributes:
        source: what made the features: a model, or a non-model source.
        dataset: name of the prepared dataset.
        fingerprint: everything that changes a value.
        recorded: everything that does not: library versions, device, batch size.
        arrays: the arrays in order of creation.
        files: for each metadata file the accepted SHA-256 digests, the current one last. More than one only while
            `initialise` is at work or after it was killed.
    """

    source: str
    dataset: str
    fingerprint: Mapping[str, Any]
    recorded: Mapping[str, Any]
    arrays: Sequence[ArraySpec]
    files: Mapping[str, Sequence[str]]

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for two stores to be the same store."""
        return {"source": self.source, "dataset": self.dataset, "fingerprint": dict(self.fingerprint)}

    @property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the canonical JSON of the fingerprint, 64 hexadecimal characters."""
        return digest(self.fingerprint)

    def to_bytes(self) -> bytes:
        """Return `store.json`."""
        return records.render(
            {
                "source": self.source,
                "dataset": self.dataset,
                "fingerprint": self.fingerprint,
                "fingerprint_sha256": self.fingerprint_digest,
                "recorded": self.recorded,
                "arrays": [spec.to_json() for spec in self.arrays],
                "files": {key: list(self.files[key]) for key in sorted(self.files)},
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Header:
        """Read `store.json`.

        Raises:
            CorruptionError, VersionError: see `cache.format.records.parse`; also for names that would lead out of the
                store, and for arrays of an implausible shape.
        """
        values = records.parse(data, where)
        try:
            header = cls(
                source=values["source"],
                dataset=values["dataset"],
                fingerprint=values["fingerprint"],
                recorded=values["recorded"],
                arrays=tuple(ArraySpec.from_json(spec) for spec in values["arrays"]),
                files={key: tuple(map(_text, shas)) for key, shas in values["files"].items()},
            )
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise CorruptionError(f"incomplete or malformed store.json: {error!r}", where=where) from error
        except StoreError as error:
            detail = f"{where}: {error.where}"
            raise CorruptionError(error.problem, expected=error.expected, found=error.found, where=detail) from error
        _refuse_other_paths(header, where)
        if header.fingerprint_digest != values.get("fingerprint_sha256"):
            raise CorruptionError("fingerprint digest mismatch in store.json", where=where)
        return header


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a digest")
    return value


def _refuse_other_paths(header: Header, where: str) -> None:
    """Refuse names and keys that are, or become, paths to something else than a part of a store.

    Raises:
        CorruptionError: there is one.
    """
    for what, name in (("dataset", header.dataset), ("source", header.source)):
        if not is_path_name(name, joined=what == "source"):
            raise CorruptionError(f"not a usable name of a {what} in store.json", found=repr(name), where=where)
    for key in header.files:
        if not layout.is_metadata_key(key):
            raise CorruptionError("store.json lists a file that is not part of a store", found=repr(key), where=where)


def load_header(backend: Backend) -> Header:
    """Read `store.json`.

    Raises:
        StoreError: there is no store here.
        CorruptionError, VersionError, StorageError: it can't be used.
    """
    where = f"{backend.where}/{layout.STORE}"
    try:
        data = backend.read(layout.STORE)
    except MissingError:
        held = backend.names("")
        if layout.GROUP in held or layout.COMMITS in held:
            raise StoreError(
                "the store has no store.json: its creation was interrupted, or the file is lost",
                where=backend.where,
                fix=f"run the same `{commands.extract('run')}` command again, or {commands.repair(backend.where)}",
            ) from None
        raise StoreError(
            "this is not a feature store",
            expected=f"a folder with {layout.STORE}",
            found=", ".join(sorted(held)[:6]) or "an empty folder",
            where=backend.where,
            fix=f"{commands.cache('ls')} lists the stores",
        ) from None
    return Header.from_bytes(data, where)


def load_covered(backend: Backend, header: Header, key: str) -> tuple[Header, bytes]:
    """Return a metadata file whose digest `store.json` lists, and the header that lists it.

    A store may grow between the two reads; then `store.json` is read again.

    Raises:
        CorruptionError: the file is missing or has changed since it was written.
    """
    found = None
    for attempt in range(3):
        if attempt:
            header = load_header(backend)
        try:
            data = backend.read(key)
        except MissingError:
            continue
        found = sha256_bytes(data)
        if found in header.files.get(key, ()):
            return header, data
    raise CorruptionError(
        f"{key} is missing" if found is None else f"{key} has changed since it was written",
        expected="SHA-256 " + " or ".join(sha[:12] for sha in header.files.get(key, ("(none listed)",))),
        found=None if found is None else f"SHA-256 {found[:12]}",
        where=f"{backend.where}/{key}",
        fix=commands.repair(backend.where),
    )


def identity_differences(header: Header, source: str, dataset: str, fingerprint: Mapping[str, Any]) -> list[str]:
    """Return readable differences between a store and what is asked for, e.g. `prompt: '' -> 'a room'`."""
    asked = {"source": source, "dataset": dataset, "fingerprint": dict(fingerprint)}
    return [str(difference).removeprefix("fingerprint.") for difference in differences(header.identity, asked)]
