"""Video files: exactly the frames asked for, turned as players show them; damage refused, never concealed."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest

from configs.errors import DatasetError
from data.raw.video import index_video, read_frames
from tests.data.video.filming import film, number_of, numbered

COUNT = 60


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "a.mp4", COUNT, audio=True)


def numbers(path: Path, wanted: list[int], stream: int | None = None) -> list[int]:
    stamps = index_video(path, stream).stamps
    found = dict(read_frames(path, [int(stamps[i]) for i in wanted], stream))
    return [number_of(found[int(stamps[i])]) for i in wanted]


def key_frames(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [p.pos for p in container.demux(container.streams.video[0]) if p.is_keyframe and p.size]


def test_frames_are_exact_wherever_one_begins(mp4: Path) -> None:
    index = index_video(mp4)
    assert len(index.stamps) == COUNT and not index.cut_off and not index.warnings
    np.testing.assert_allclose(np.diff(index.seconds), 0.04, atol=1e-6)
    for start in (0, 1, 11, 12, 13, 37, COUNT - 2):
        wanted = list(range(start, min(start + 9, COUNT), 2))
        assert numbers(mp4, wanted) == wanted
    assert numbers(mp4, list(range(COUNT))) == list(range(COUNT))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.webm", "libvpx")]
)
def test_containers(tmp_path: Path, name: str, codec: str) -> None:
    path = film(tmp_path / name, 30, codec=codec, b_frames=0)
    assert numbers(path, [0, 7, 13, 29]) == [0, 7, 13, 29]


def test_variable_frame_rate(tmp_path: Path) -> None:
    stamps = np.cumsum([0, *([20, 60] * 15)]).tolist()
    path = film(tmp_path / "a.mkv", len(stamps), stamps=stamps)
    index = index_video(path)
    np.testing.assert_allclose(index.seconds * 1000, stamps, atol=1)
    assert numbers(path, [3, 4, 17]) == [3, 4, 17]


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    path = film(tmp_path / "a.mp4", 8, rotation=rotation)
    index = index_video(path)
    (frame,) = (picture for _, picture in read_frames(path, [int(index.stamps[5])]))
    upright = np.rot90(frame, -rotation // 90)  # a display matrix turns counterclockwise
    assert upright.shape == numbered(0).shape and number_of(upright) == 5
    assert frame.shape[:2] == ((64, 48) if rotation != 180 else (48, 64))


def test_right_stream(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 20, cover=True, audio=True)
    assert numbers(path, [4, 11]) == [4, 11]
    with av.open(str(path)) as container:
        video = [s.index for s in container.streams.video if (s.codec_context.width or 0) == 64]
        sound = container.streams.audio[0].index
    assert numbers(path, [4], video[0]) == [4]
    with pytest.raises(DatasetError, match="no such stream") as caught:
        index_video(path, sound)
    assert "video stream of number" in str(caught.value) and str(path) in str(caught.value)


def test_gap_is_reported(tmp_path: Path) -> None:
    stamps = [i * 40 + (3000 if i >= 10 else 0) for i in range(20)]
    (warning,) = index_video(film(tmp_path / "a.mkv", 20, stamps=stamps)).warnings
    assert re.fullmatch(r"nothing was recorded for 3\.0 s after 0\.4 s", warning)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (bytes(4096), "zeros only"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "playlist"),
        (b"certainly no video " * 100, "not a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        index_video(path)
    assert str(path) in str(caught.value)


def test_cut_off_before_the_index(mp4: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(mp4.read_bytes()[: mp4.stat().st_size // 2])
    with pytest.raises(DatasetError, match="recording was cut off"):
        index_video(path)


def test_cut_off_after_the_index(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4", COUNT, options={"movflags": "+faststart"})
    content = whole.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: len(content) * 2 // 3])
    index = index_video(path)
    assert "of 60 frames are there" in index.cut_off or "reading stops" in index.cut_off
    assert 10 < len(index.stamps) < COUNT
    mkv = film(tmp_path / "a.mkv", COUNT)
    (tmp_path / "cut.mkv").write_bytes(mkv.read_bytes()[: mkv.stat().st_size // 2])
    assert "s are there" in index_video(tmp_path / "cut.mkv").cut_off


@pytest.mark.parametrize("damage", ["noise", "hole"])
def test_damaged_middle(tmp_path: Path, damage: str) -> None:
    """Frames before the damage and after the next key frame are exact; those between are refused."""
    noisy = np.random.default_rng(0).integers(0, 255, (COUNT, 48, 64, 3), dtype=np.uint8) // 8
    pictures = [np.maximum(numbered(i), noisy[i]) for i in range(COUNT)]
    path = film(tmp_path / "a.mp4", COUNT, gop=12, b_frames=0, pictures=pictures)
    keys = key_frames(path)
    assert len(keys) == 5
    content = bytearray(path.read_bytes())
    start = (keys[2] + keys[3]) // 2  # somewhere in frames 24 to 35
    size = 400
    content[start : start + size] = (
        bytes(size) if damage == "hole" else np.random.default_rng(1).integers(0, 255, size, dtype=np.uint8).tobytes()
    )
    path.write_bytes(bytes(content))
    assert numbers(path, list(range(24))) == list(range(24))
    assert numbers(path, list(range(36, 60))) == list(range(36, 60))
    with pytest.raises(DatasetError, match=r"can't be decoded; the first at 1\.[0-3]\d s") as caught:
        numbers(path, list(range(20, 40)))
    assert str(path) in str(caught.value)
