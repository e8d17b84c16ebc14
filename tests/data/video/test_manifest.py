"""manifest.json: every key is checked, names stay inside the folder, messages say at which entry."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import DatasetError, MissingError
from data.dataset.layout import check_clip_id
from data.raw.folder import RawFolder
from data.video.discover import find_recordings
from data.video.manifest import read_manifest
from tests.data.video.filming import labelled, numbered, picture_bytes, write_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("raw")
    labelled(path, ["a", "b"], frames=20, video=False)
    return path


@pytest.fixture
def manifest(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return value


def test_everything_is_read(folder: Path) -> None:
    collection = read_manifest(RawFolder(folder))
    first = collection.recordings[0]
    assert [r.id for r in collection.recordings] == ["a", "b"] and collection.class_names == ("wall", "chair")
    assert first.camera is not None and first.camera.size == (48, 64) and len(first.poses) == 20
    assert first.masks is not None and first.masks.objects is not None and first.depth is not None
    assert [(o.id, o.class_index, o.thing) for o in first.masks.objects] == [
        (10, 0, False),
        (20, 1, True),
        (30, -1, False),
    ]


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Change one value, at keys and indices below the first recording."""
    *keys, value = path

    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest["recordings"][0]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def _top(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.__setitem__(key, value)


POSE = {"frame": 0, "cam2world": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
BROKEN: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (_top("format", "other"), "another format"),
    (_top("version", 2), "another format"),
    (_top("unit", "metres"), "did you mean units"),
    (_top("units", "feet"), "metres, arbitrary"),
    (_top("classes", ["wall", "chair", "wall"]), "named twice"),
    (_top("classes", "scannet21"), "list of names"),
    (_top("recordings", []), "no recordings"),
    (_top("recordings", {}), "must be a list"),
    (_set("id", "b"), "same id 'b'"),
    (_set("id", "B"), "same id 'b'"),
    (_set("id", "../x"), "can't name a folder"),
    (_set("id", 3), "must be text"),
    (_set("frames", "b"), "same frames"),
    (_set("frames", "nowhere"), "something that doesn't exist"),
    (_set("frames", "../a"), "leads out"),
    (_set("frames", "/etc"), "leads out"),
    (_set("frames", "a_poses.json"), "a video or a folder"),
    (_set("split", "val"), "train, select, report"),
    (_set("stream", 0), "belongs to videos"),
    (_set("fps", 0), "positive number"),
    (_set("fps", True), "positive number"),
    (_set("axes", "opengl2"), "opencv, opengl"),
    (_set("posses", []), "did you mean poses"),
    (_set("camera", None), "need a camera"),
    (_set("camera", "fx", -1), "positive number"),
    (_set("camera", "size", [64, 0]), "width, height"),
    (_set("camera", "cx", 64.5), "outside the picture"),
    (_set("camera", "k1", 0.1), "unknown key 'k1'"),
    (_set("poses", [POSE, POSE]), "two poses for frame 0"),
    (_set("poses", [{**POSE, "cam2world": [[1, 0, 0, 0]] * 3}]), "4x4"),
    (_set("poses", [{**POSE, "cam2world": [[1, 0, 0, None]] * 4}]), "4x4"),
    (_set("poses", [{**POSE, "frame": 1.5}]), "frame must be"),
    (_set("poses", "../poses.json"), "leads out"),
    (_set("depth", "unit", 0), "positive number"),
    (_set("depth", "folder", "gone"), "something that doesn't exist"),
    (_set("instances", "objects", 0, "class", "chairs"), "did you mean chair"),
    (_set("instances", "objects", 0, "id", 0), "1 to 65535"),
    (_set("instances", "objects", 0, "id", 20), "two objects with id 20"),
    (_set("instances", "objects", 0, "thing", "yes"), "true or false"),
    (_set("instances", []), "object { ... } was expected"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_mistakes_are_named(
    folder: Path, manifest: dict[str, Any], change: Callable[[dict[str, Any]], None], message: str
) -> None:
    broken = copy.deepcopy(manifest)
    change(broken)
    try:
        write_manifest(folder, broken)
        with pytest.raises(DatasetError) as caught:
            read_manifest(RawFolder(folder))
    finally:
        write_manifest(folder, manifest)
    assert message in str(caught.value) and str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("[1,", "not a readable JSON"),
        ('{"format": 1, "format": 2}', "repeats"),
        ('{"version": NaN}', "NaN is not a valid JSON number"),
        ('{"version": 1e999}', "not a valid JSON number"),
        ("[]", "object"),
        ("\xff", "unknown|not a readable|object"),
    ],
)
def test_broken_json(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        read_manifest(RawFolder(tmp_path))


def test_discovery(tmp_path: Path) -> None:
    picture = picture_bytes(numbered(1))
    (tmp_path / "walk 1").mkdir()
    (tmp_path / "walk 1" / "10.jpg").write_bytes(picture)
    (tmp_path / "IMG 2.MOV").write_bytes(b"x")
    (tmp_path / ".hidden.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    _, found = find_recordings(tmp_path)
    assert [(r.id, r.frames, r.is_video) for r in found.recordings] == [
        ("IMG_2", "IMG 2.MOV", True), ("walk_1", "walk 1", False),
    ]  # fmt: skip
    _, alone = find_recordings(tmp_path / "walk 1")
    assert [(r.id, r.frames) for r in alone.recordings] == [("walk_1", ".")]
    _, file = find_recordings(tmp_path / "IMG 2.MOV")
    assert [r.id for r in file.recordings] == ["IMG_2"]
    (tmp_path / "IMG_2.mp4").write_bytes(b"x")
    with pytest.raises(DatasetError, match="same id"):
        find_recordings(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no recordings"):
        find_recordings(tmp_path / "empty")
    with pytest.raises(DatasetError, match="neither a folder nor a video"):
        find_recordings(tmp_path / "notes.txt")
    with pytest.raises(MissingError, match="no such raw data"):
        find_recordings(tmp_path / "gone")


def test_pictures_beside_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "kitchen.mp4").write_bytes(b"x")
    (tmp_path / "cover.jpg").write_bytes(picture_bytes(numbered(1)))
    with pytest.raises(DatasetError, match="side by side") as caught:
        find_recordings(tmp_path)
    assert "cover.jpg" in str(caught.value) and "kitchen.mp4" in str(caught.value)


def test_names_in_other_scripts_stay_apart(tmp_path: Path) -> None:
    for name in ("客厅.mp4", "厨房.mp4", "Дом 1.mp4", "Дача 1.mp4", "Küche.mp4"):
        (tmp_path / name).write_bytes(b"x")
    found = find_recordings(tmp_path)[1].recordings
    ids = {recording.frames: recording.id for recording in found}
    assert len(set(ids.values())) == 5 and ids["Küche.mp4"] == "K_che"
    assert ids["客厅.mp4"].startswith("recording_") and ids["Дом 1.mp4"].startswith("1_")
    assert all(check_clip_id(name) for name in ids.values())


def test_one_pose_per_frame_of_a_video(tmp_path: Path) -> None:
    labelled(tmp_path, ["a"], frames=20)
    value = json.loads((tmp_path / "manifest.json").read_text())
    poses = json.loads((tmp_path / value["recordings"][0]["poses"]).read_text())
    value["recordings"][0]["poses"] = [*poses, {**poses[3], "frame": "003"}]
    (tmp_path / "manifest.json").write_text(json.dumps(value))
    with pytest.raises(DatasetError, match="two poses for frame 3"):
        read_manifest(RawFolder(tmp_path))
