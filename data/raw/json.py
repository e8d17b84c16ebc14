"""Reads JSON files that others wrote, strictly: no NaN, no repeated keys, no absurd size."""

from __future__ import annotations

import json
import math
from os import PathLike
from typing import Any

from configs.errors import DatasetError

MAX_BYTES = 1 << 28


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
    if len(content) > MAX_BYTES:
        raise DatasetError("a JSON file of absurd size", found=f"{len(content)} bytes", where=where)

    def constant(name: str) -> float:
        raise DatasetError(f"{name} is no number of JSON", where=where, fix="write null, or leave the entry out")

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
