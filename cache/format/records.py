"""Small JSON records that end with a digest of their own bytes, so that any changed byte is detected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cache.format.layout import SCHEMA
from configs import commands
from configs.errors import CorruptionError, VersionError
from configs.files import sha256_bytes
from configs.identity import plain

_SEAL = b',\n "digest": "'
_END = b'"\n}\n'


def render(values: Mapping[str, Any]) -> bytes:
    """Return a record as bytes: the schema, the fields, and as last line the SHA-256 of the bytes before that line.

    Raises:
        TypeError: a value has no JSON form.
        ValueError: a float is not finite.
    """
    body = {"schema": SCHEMA, **{key: plain(value) for key, value in values.items()}}
    text = json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False).encode().removesuffix(b"\n}")
    return text + _SEAL + sha256_bytes(text).encode() + _END


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Return the fields of a record.

    Raises:
        VersionError: the record was written by another version of the format.
        CorruptionError: it is empty, truncated, not a record, or any byte of it has changed.
    """
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = f"not a readable record: {error}" if data else "the file is empty"
        raise CorruptionError(problem, where=where, fix=_fix(where)) from None
    if not isinstance(record, dict) or not isinstance(record.get("schema"), str):
        raise CorruptionError("not a record of a feature store", where=where, fix=_fix(where))
    family, _, version = record["schema"].partition("/")
    if record["schema"] != SCHEMA and family == SCHEMA.partition("/")[0] and version.isdecimal():
        raise VersionError(
            "written by another version of the feature store",
            expected=SCHEMA,
            found=record["schema"],
            where=where,
            fix="update this project, or extract again under another root=...",
        )
    text, _, seal = data.rpartition(_SEAL)
    if record["schema"] != SCHEMA or seal != sha256_bytes(text).encode() + _END:
        raise CorruptionError("a record does not match its own digest", where=where, fix=_fix(where))
    del record["digest"]
    return record


def _fix(where: str) -> str:
    folder = where
    for part in ("commits/", "quarantine/", "store.json"):
        folder = folder.partition(part)[0]
    return commands.repair(folder.rstrip("/:"))
