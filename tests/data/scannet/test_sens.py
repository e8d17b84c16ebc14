"""Recordings: written, indexed, read back, cut off at any byte, flipped at any bit."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import DatasetError
from data.emit.scannet_scan import RawScan, pack_depth, write_sens
from data.scannet.frames import SensFrames
from data.scannet.sens import SensFile

FRAMES = 6


@pytest.fixture
def path(tmp_path: Path, scan: RawScan) -> Path:
    path = tmp_path / "scene0000_00.sens"
    poses = scan.cam2world[:FRAMES].copy()
    poses[2] = -np.inf
    poses[3, 0, 1] = np.nan
    write_sens(
        path, scan.colour[:FRAMES], [pack_depth(d) for d in scan.depth[:FRAMES]], poses, scan.intrinsics, scan.size,
        scan.size,
    )  # fmt: skip
    return path


def edited(path: Path, offset: int, content: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    return path


def test_round_trip(path: Path, scan: RawScan) -> None:
    with SensFrames(path) as frames:
        assert (frames.header.sensor, frames.header.frames) == ("rooms", FRAMES)
        assert frames.header.colour_size == frames.header.depth_size == scan.size
        assert frames.index.imu_records == 0 and not frames.notes
        for rank in range(FRAMES):
            assert frames.colour(rank) == scan.colour[rank]
            np.testing.assert_array_equal(frames.depth(rank), scan.depth[rank] / np.float32(1000))
        np.testing.assert_array_equal(frames.pose(1), scan.cam2world[1])
        assert np.isneginf(frames.pose(2)).all() and np.isnan(frames.pose(3)[0, 1])
        np.testing.assert_array_equal(frames.camera("color")[:3, :3], scan.intrinsics)


def test_the_largest_depth_is_unknown(tmp_path: Path, scan: RawScan) -> None:
    path = tmp_path / "scene0000_00.sens"
    depth = scan.depth[0].copy()
    depth[3, 5] = 65535
    write_sens(path, scan.colour[:1], [pack_depth(depth)], scan.cam2world[:1], scan.intrinsics, scan.size, scan.size)
    with SensFrames(path) as frames:
        assert frames.depth(0)[3, 5] == 0 and frames.depth(0)[3, 6] == np.float32(depth[3, 6]) / np.float32(1000)


def test_indexing_reads_headers_only(path: Path) -> None:
    with SensFile(path) as file:
        file.read_index()
        assert file.bytes_read == file.header.bytes + 96 * FRAMES + 8


@pytest.mark.parametrize(("codec", "kind"), [(0, "raw"), (1, "png")])
def test_other_colour_codecs(tmp_path: Path, scan: RawScan, codec: int, kind: str) -> None:
    pixels = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    if kind == "raw":
        blob = pixels.tobytes()
    else:
        Image.fromarray(pixels).save(tmp_path / "a.png")
        blob = (tmp_path / "a.png").read_bytes()
    path = tmp_path / "a.sens"
    write_sens(path, [blob], [pack_depth(scan.depth[0])], scan.cam2world[:1], scan.intrinsics, scan.size, scan.size)
    edited(path, 12 + 5 + 256, struct.pack("<i", codec))
    with SensFrames(path) as frames:
        (tmp_path / "b.png").write_bytes(frames.colour(0))
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_missing_imu_list_is_noted(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])
    with SensFrames(path) as frames:
        assert frames.index.imu_records is None and "IMU" in frames.notes[0]


def test_imu_records_are_counted(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<Q", 2) + bytes(256))
    with SensFrames(path) as frames:
        assert frames.index.imu_records == 2


@pytest.mark.parametrize(
    ("offset", "content", "message"),
    [
        (0, struct.pack("<I", 3), "version 3"),
        (4, struct.pack("<Q", 1 << 60), "length of the sensor's name"),
        (273, struct.pack("<i", 7), "colour codec"),
        (277, struct.pack("<i", 2), "2 \\(occi\\)"),
        (281, struct.pack("<I", 0), "image size"),
        (297, struct.pack("<f", float("nan")), "depth shift"),
        (301, struct.pack("<Q", 1 << 62), "cut off or its header damaged"),
        (309 + 80, struct.pack("<Q", 1 << 63), "before frame 0"),
    ],
)
def test_damaged_headers(path: Path, offset: int, content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        SensFrames(edited(path, offset, content))
    assert str(path) in str(caught.value)


def test_no_frames_at_all(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:301] + struct.pack("<QQ", 0, 0))
    with SensFrames(path) as frames:
        assert len(frames.numbers) == 0


def test_cut_off_anywhere(path: Path) -> None:
    """Every length that lacks more than the IMU list ends in one error, before or while reading."""
    whole = path.read_bytes()
    for length in [*range(0, 420, 7), *range(420, len(whole) - 8, 997)]:
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"cut off|ends within") as caught:
            SensFrames(path)
        assert str(path) in str(caught.value)


def test_flipped_bits_give_an_error_or_sound_arrays(path: Path) -> None:
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            with SensFrames(path) as frames:
                for rank in range(len(frames.numbers)):
                    frames.colour(rank)
                    assert frames.depth(rank).shape == frames.header.depth_size
        except DatasetError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 100  # whatever hits a size or a compressed depth image


def test_depth_bombs_are_not_inflated(tmp_path: Path, scan: RawScan) -> None:
    path = tmp_path / "a.sens"
    bomb = pack_depth(np.zeros((3000, 3000), np.uint16))
    write_sens(path, [scan.colour[0]], [bomb], scan.cam2world[:1], scan.intrinsics, scan.size, scan.size)
    with SensFrames(path) as frames, pytest.raises(DatasetError, match="wrong size"):
        frames.depth(0)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="can't open"):
        SensFile(tmp_path / "nothing.sens")
