"""Depth that can't be right is named with what it looks like, and sound depth is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.dataset.reader import PreparedDataset
from data.look.verify import verify
from data.prepare.prepare import prepare
from data.prepare.status import print_statuses
from data.raw.depth import doubtful_depth, known_depth
from data.video.config import VideoConfig
from data.video.source import VideoSource
from tests.data.video.filming import labelled, picture_bytes, write_manifest

Values = NDArray[np.uint16]
STEP = 0.001


def room(seed: int = 0, size: tuple[int, int] = (48, 64), count: int = 20) -> Values:
    """A slanted wall behind boxes, seen by a slowly moving noisy sensor: (count, H, W) in millimetres."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    frames = []
    for k in range(count):
        depth = 2500 + 900 * x + 300 * y + 20 * k
        for _ in range(3):
            top, left = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
            depth[top : top + size[0] // 4, left : left + size[1] // 4] = rng.integers(900, 2200)
        depth += rng.normal(0, 4, size)
        depth[rng.random(size) < 0.1] = 0
        frames.append(depth)
    return np.stack(frames).astype(np.uint16)


def as_lengths(values: Values, step: float = STEP) -> NDArray[np.float32]:
    return known_depth(values).astype(np.float32) * np.float32(step)


def rotated(values: Values, bits: int) -> Values:
    wide = values.astype(np.uint32)
    return (wide << bits | wide >> (16 - bits)).astype(np.uint16)


def test_the_largest_value_is_as_unknown_as_zero() -> None:
    values = np.array([[0, 1, 65534, 65535]], np.uint16)
    assert known_depth(values).tolist() == [[0, 1, 65534, 0]]


@pytest.mark.parametrize("size", [(48, 64), (240, 320), (480, 640)])
def test_sound_depth_is_not_doubted(size: tuple[int, int]) -> None:
    for seed in range(3):
        values = room(seed, size, 6)
        assert doubtful_depth(as_lengths(values), step=STEP, metres=True) == [""] * 6
        assert doubtful_depth(as_lengths(values, 0.37 * STEP), step=None, metres=False) == [""] * 6


WRONG: dict[str, tuple[Callable[[Values], Values], str]] = {
    "bytes": (lambda v: v.byteswap(), "byte-swapped"),
    "SUN3D": (lambda v: rotated(v, 3), "SUN3D"),
    "rotated twice": (lambda v: rotated(v, 13), "rotated by 3 bits"),
    "tenths": (lambda v: v // 10, "another unit"),
    "empty": (lambda v: np.zeros_like(v), "of its pixels have depth"),
    "noise": (
        lambda v: np.random.default_rng(0).integers(1, 30000, v.shape).astype(np.uint16),
        "differ as in noise|byte-swapped",
    ),
}


@pytest.mark.parametrize("size", [(48, 64), (480, 640)])
@pytest.mark.parametrize("name", WRONG)
def test_a_single_wrong_map_among_good_ones_is_named(name: str, size: tuple[int, int]) -> None:
    change, message = WRONG[name]
    for at in (0, 7, 9):
        values = room(size=size, count=10)
        values[at] = change(values[at])
        found = doubtful_depth(as_lengths(values), step=STEP, metres=True)
        assert [i for i, reason in enumerate(found) if reason] == [at]
        assert any(part in found[at] for part in message.split("|"))


@pytest.mark.parametrize("name", ["bytes", "SUN3D", "rotated twice"])
def test_maps_that_are_all_wrong_are_named(name: str) -> None:
    change, message = WRONG[name]
    found = doubtful_depth(as_lengths(change(room())), step=STEP, metres=True)
    assert all(message in reason for reason in found)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1.0, "millimetres read as metres"),
        (0.1, "centimetres read as metres"),
        (1e-5, "centimetres read as millimetres|metres read as centimetres"),
        (1e-6, "metres read as millimetres"),
    ],
)
def test_a_wrong_unit_is_named(step: float, message: str) -> None:
    found = doubtful_depth(as_lengths(room(), step), step=step, metres=True)
    assert all(any(part in reason for part in message.split("|")) for reason in found)
    assert not any(doubtful_depth(as_lengths(room(), step), step=step, metres=False))


def spoil(path: Path, change: Callable[[Values], Values]) -> None:
    from PIL import Image

    values = np.asarray(Image.open(path)).astype(np.uint16)
    path.write_bytes(picture_bytes(change(values), "PNG"))


def test_prepare_and_verify_name_the_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = labelled(tmp_path / "raw", ["a", "b", "c"], video=False)
    for folder in (tmp_path / "raw").glob("*_depth"):
        for k, path in enumerate(sorted(folder.iterdir())):
            path.write_bytes(picture_bytes(room(k, count=1)[0], "PNG"))
    spoil(tmp_path / "raw" / "b_depth" / "13.png", lambda v: v.byteswap())
    spoil(tmp_path / "raw" / "b_depth" / "37.png", lambda v: rotated(v, 3))
    spoil(tmp_path / "raw" / "a_depth" / "5.png", lambda v: np.where(v == 0, 65535, v).astype(np.uint16))
    manifest["recordings"][2]["depth"]["unit"] = 1
    write_manifest(tmp_path / "raw", manifest)
    source = VideoSource(VideoConfig(), tmp_path / "raw")
    summary = prepare(source, tmp_path / "d", workers=1)
    print_statuses(summary.statuses)
    shown = capsys.readouterr().out
    dataset = PreparedDataset(tmp_path / "d")
    assert dataset.clips.at["a-000", "warnings"] == "" and dataset.depth("a-000", [5]).max() < 10
    swapped = "1 implausible depth maps (values look byte-swapped): frames 13"
    turned = "1 implausible depth maps (values are multiples of 8, as if rotated by 3 bits (SUN3D)): frames 37"
    unit = "20 implausible depth maps (values look like millimetres read as metres): frames 0, 1, 5, 9, 13, ..."
    assert dataset.clips.at["b-000", "warnings"] == f"{turned}; {swapped}"
    assert dataset.clips.at["c-000", "warnings"] == unit
    assert all(text in shown for text in (swapped, turned, unit))
    verify(dataset, workers=1)
    shown = capsys.readouterr().out
    for clip, text in (("b-000", swapped), ("b-000", turned), ("c-000", unit)):
        assert f"warning: {clip}: {text}" in shown
    assert "warning: a-000" not in shown
