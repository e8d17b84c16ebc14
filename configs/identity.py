"""Canonical JSON, digests and readable differences: how parameters are identified and compared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


def plain(value: Any) -> Any:
    """Return `value` as JSON types only: dataclasses and mappings to dicts, tuples to lists, paths to strings.

    Raises:
        TypeError: a value has no canonical form (sets, arrays, objects).
        ValueError: a float is NaN or infinite.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"no canonical form for {value!r}")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, 1.0 written as 1."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, 64 hexadecimal characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Difference(NamedTuple):
    """One field that differs: dotted key, the value on disk and the requested value (`ABSENT` if missing)."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_show(self.old)} -> {_show(self.new)}"


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def differences(old: Any, new: Any, prefix: str = "") -> list[Difference]:
    """Return the fields in which two structures differ, in key order, with dotted keys."""
    old, new = (item if item is ABSENT else plain(item) for item in (old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[Difference] = []
        for key in sorted(old.keys() | new.keys()):
            found += differences(old.get(key, ABSENT), new.get(key, ABSENT), f"{prefix}.{key}" if prefix else key)
        return found
    same = old is not ABSENT and new is not ABSENT and canonical_json(old) == canonical_json(new)
    return [] if same else [Difference(prefix or "(value)", old, new)]
