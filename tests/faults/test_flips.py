"""One flipped bit in any file of an artifact root: it is found and the file named, or every value read is equal.

A flip is an ordinary write: it leaves the size and changes the times of the file. Caches in memory are emptied before
each reading, so that it is what another process would see.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from configs.errors import SpatialprobeError
from tests.faults.readers import KINDS, UNREAD, Reading, content, files_of

pytestmark = pytest.mark.usefixtures("impatient")


def flips(root: Path, kind: str, count: int) -> Iterator[tuple[Path, int, int]]:
    """Draw files of a kind, each once before any is drawn again, and in each the place of a byte and a bit."""
    draw = np.random.default_rng([zlib.crc32(kind.encode()), count])
    files = files_of(root, KINDS[kind][0])
    order = [files[i] for _ in range(-(-count // len(files))) for i in draw.permutation(len(files))]
    for path in order[:count]:
        yield path, int(draw.integers(path.stat().st_size)), int(draw.integers(8))


def flipped(whole: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    return bytes(changed)


def outcome(before: Reading, read: Callable[[], Reading], name: str, warned: Callable[[], str]) -> str:
    """Return `found`, `harmless`, or what is wrong."""
    try:
        after = read()
    except SpatialprobeError as error:
        return "found" if name in str(error) else f"refused without naming the file: {error}"
    said = f"{after.said}\n{warned()}"
    different = [key for key, value in after.values.items() if content(value) != before.values.get(key)]
    missing = sorted(before.values.keys() - after.values.keys())
    if different or (missing and name not in said):
        return f"silent: other {different}, missing {missing}; said: {said}"
    return "found" if name in said else "harmless"


def test_every_file_is_of_one_kind(root: Path) -> None:
    patterns = [*(pattern for pattern, _ in KINDS.values()), *UNREAD]
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file():
            assert sum(re.fullmatch(pattern, name) is not None for pattern in patterns) == 1, name
    assert all(files_of(root, pattern) for pattern in patterns)


@pytest.mark.parametrize("count", [2, pytest.param(16, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_or_harmless(
    root: Path, kind: str, count: int, caplog: pytest.LogCaptureFixture, record_property: Callable[[str, object], None]
) -> None:
    read = KINDS[kind][1]
    seen = {"found": 0, "harmless": 0}
    for path, place, bit in flips(root, kind, count):
        values, said = read(root, path)
        before = Reading(content(values), said)
        assert path.name not in said, said
        whole = path.read_bytes()
        caplog.clear()
        path.write_bytes(flipped(whole, place, bit))
        try:
            came = outcome(before, partial(read, root, path), path.name, lambda: caplog.text)
        finally:
            path.write_bytes(whole)
        assert came in seen, f"bit {bit} of byte {place} of {path.relative_to(root)}: {came}"
        seen[came] += 1
    for name, number in seen.items():
        record_property(name, number)
