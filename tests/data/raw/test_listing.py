"""No file of a folder of pictures vanishes: it is a frame, or it is named; and none shifts the others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from configs.errors import DatasetError
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from data.raw.folder import RawFolder
from data.raw.listing import list_pictures
from data.video.config import VideoConfig
from data.video.source import VideoSource
from tests.data.video.filming import number_of, numbered, picture_bytes

JPEG = picture_bytes(numbered(7))


def listed(folder: Path, **files: bytes) -> tuple[list[str], list[str]]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = list_pictures(RawFolder(folder))
    return list(found.names), list(found.left_out)


def test_endings_of_every_kind_are_frames(tmp_path: Path) -> None:
    names = ["1.jpg", "2.JPE", "3.jfif", "4.png", "5.webp", "6.bmp", "7.tif", "8.TIFF", "9.ppm", "10.heic", "11.Gif"]
    assert listed(tmp_path, **dict.fromkeys(names, JPEG)) == (names, [])


def test_content_makes_a_frame_of_a_file_with_an_odd_ending(tmp_path: Path) -> None:
    odd = {"1": JPEG, "2.dat": picture_bytes(numbered(1), "PNG"), "3.x": picture_bytes(numbered(1), "WEBP")}
    odd |= {"4.y": picture_bytes(numbered(1), "BMP"), "5.z": picture_bytes(numbered(1), "TIFF")}
    assert listed(tmp_path, **odd) == (list(odd), [])


def test_other_files_are_named_with_the_reason(tmp_path: Path) -> None:
    files = {
        "1.jpg": JPEG,
        "2.jpg": JPEG,
        "2.heic": b"x",
        "notes.txt": b"BM is not a bitmap",
        "clip.mov": b"x",
        "e": b"",
    }
    files |= {f"{i}.txt": b"pose" for i in range(7)} | {"1.jpg.json": b"{}", ".DS_Store": b"x"}
    names, left_out = listed(tmp_path, **files)
    os.mkfifo(tmp_path / "pipe")
    assert list_pictures(RawFolder(tmp_path)).left_out[0].startswith("2 left out (not a picture): e, pipe")
    assert names == ["1.jpg", "2.jpg"]
    assert left_out == [
        "1 left out (not a picture): e",
        "1 left out (.jpg of the same frame is used): 2.heic",
        "1 left out (not a picture): 1.jpg.json",
        "1 left out (a video): clip.mov",
        "8 left out (not a picture): 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...",
    ]


def test_unfinished_copies_keep_their_place(tmp_path: Path) -> None:
    files = {"f_1.jpg": JPEG, "f_2.jpg.part": b"", "f_3.jpg": JPEG, "f_3.jpg.part": b""}
    names, left_out = listed(tmp_path, **files)
    assert names == ["f_1.jpg", "f_2.jpg.part", "f_3.jpg"]
    assert left_out == ["1 left out (not a picture): f_3.jpg.part"]


def test_two_pictures_of_one_frame(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"two pictures of one frame"):
        listed(tmp_path, **{"1.jpg": JPEG, "1.webp": JPEG})


def test_positions_do_not_shift(tmp_path: Path) -> None:
    """Every tenth frame has another format; one can't be read, and costs only the clip that needs it."""
    folder = tmp_path / "walk"
    folder.mkdir()
    forms = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"]
    for i in range(60):
        form = forms[i // 10]
        options = {"lossless": True} if form == "WEBP" else {}
        (folder / f"{i}.{form.lower()}").write_bytes(picture_bytes(numbered(i), form, **options))
    (folder / "45.tiff").rename(folder / "45.heic")
    (folder / "45.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (folder / "notes.txt").write_text("in the kitchen")
    source = VideoSource(VideoConfig(frames=20), folder)
    summary = prepare(source, tmp_path / "d", workers=1, allowed_failures=1)
    assert list(summary.failed) == ["walk-002"] and "45.heic" in summary.failed["walk-002"]
    dataset = PreparedDataset(tmp_path / "d")
    for k in (0, 1):
        shown = [number_of(frame) for frame in dataset.frames(f"walk-00{k}", range(20))]
        assert shown == list(range(20 * k, 20 * k + 20))
        assert dataset.clips.at[f"walk-00{k}", "warnings"] == "1 left out (not a picture): notes.txt"
    np.testing.assert_array_equal(dataset.sources("walk-001")[0], range(20, 40))


def test_what_lies_beside_recordings_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("walk", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "walk" / "0.webp").write_bytes(picture_bytes(numbered(0), "WEBP"))
    (tmp_path / "notes.txt").write_text("x")
    assert VideoSource(VideoConfig(), tmp_path).clip_ids() == ["walk-000"]
    assert "1 left out (neither a video nor a picture): notes.txt" in caplog.text
    assert "1 left out (a folder without pictures right in it): empty" in caplog.text
