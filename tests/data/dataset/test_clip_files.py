"""What is read of a clip is what was prepared: frames on every read, ground truth on the first one of a process."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import CorruptionError, MissingError, SpatialprobeError, VersionError
from data.dataset.clip_files import read_clip_record, write_clip
from data.dataset.layout import clip_folder
from data.dataset.reader import PreparedDataset
from data.dataset.tables import build_tables
from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource, toy_clip

SPLITS = {"select": 0.1, "report": 0.1, "salt": "x"}
DENSE = ("gt.zarr/zarr.json", "gt.zarr/depth/zarr.json", "gt.zarr/depth/c/0/0/0")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "toy"
    prepare(ToySource({"a": Shape(), "b": Shape()}), path, plans=(), workers=1)
    return path


@pytest.fixture
def dataset(made: Path, tmp_path: Path) -> Path:
    """A copy that may be changed, with the times of the original."""
    return shutil.copytree(made, tmp_path / "toy")


def flipped(content: bytes, place: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def refused(dataset: Path, read: Callable[[PreparedDataset], object], file: Path) -> CorruptionError:
    with pytest.raises(CorruptionError) as caught:
        read(PreparedDataset(dataset))
    assert str(caught.value.where) == str(file)
    assert str(clip_folder(dataset, "a")) in str(caught.value.fix) and "data prepare" in str(caught.value.fix)
    return caught.value


def test_every_flip_in_a_frame_is_found(dataset: Path) -> None:
    """Most of these decode to a picture; some to the same one."""
    path = clip_folder(dataset, "a") / "frames/00005.jpg"
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, place, place % 8))
        error = refused(dataset, lambda opened: opened.frames("a", [5]), path)
        assert error.expected is not None and error.found is not None
    path.write_bytes(whole)
    PreparedDataset(dataset).frames("a", [5])


def test_another_picture_in_the_place_of_a_frame_is_found(dataset: Path) -> None:
    """Of the same clip, or the same frame of another one; also on a later read."""
    path = clip_folder(dataset, "a") / "frames/00005.jpg"
    opened = PreparedDataset(dataset)
    opened.frames("a", [5])
    for other in (clip_folder(dataset, "a") / "frames/00045.jpg", clip_folder(dataset, "b") / "frames/00005.jpg"):
        shutil.copy2(other, path)
        refused(dataset, lambda opened: opened.frames("a", [1, 5]), path)
        with pytest.raises(CorruptionError):
            opened.frames("a", [5])
    path.unlink()
    assert "missing" in refused(dataset, lambda opened: opened.frame_bytes("a", 5), path).problem


@pytest.mark.parametrize("name", DENSE)
def test_every_flip_in_the_ground_truth_is_found(dataset: Path, name: str) -> None:
    path = clip_folder(dataset, "a") / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(flipped(whole, place, place % 8))
        refused(dataset, lambda opened: opened.depth("a", [0]), path)
    path.write_bytes(whole[:-1])
    refused(dataset, lambda opened: opened.depth("a", [0]), path)


def test_ground_truth_that_is_missing_moved_or_added_is_found(dataset: Path) -> None:
    """Zarr reads a missing shard as zeros, which is depth that nobody knows."""
    clip = clip_folder(dataset, "a")
    shard = clip / "gt.zarr/depth/c/0/0/0"
    whole = shard.read_bytes()
    shard.unlink()
    refused(dataset, lambda opened: opened.depth("a", [0]), shard)
    shard.write_bytes((clip_folder(dataset, "b") / "gt.zarr/instance/c/0/0/0").read_bytes())
    refused(dataset, lambda opened: opened.depth("a", [0]), shard)
    shard.write_bytes(whole)
    confidence = shutil.copytree(clip / "gt.zarr/depth", clip / "gt.zarr/confidence")
    with pytest.raises(CorruptionError, match="does not belong to the clip"):
        PreparedDataset(dataset).confidence("a", [0])
    shutil.rmtree(confidence)
    assert PreparedDataset(dataset).confidence("a", [0]) is None
    shutil.rmtree(clip / "gt.zarr/depth")
    refused(dataset, lambda opened: opened.depth("a", [0]), shard)


def test_a_lost_confidence_does_not_count_as_full_confidence(tmp_path: Path) -> None:
    clip = toy_clip("a", Shape(query_only=True))
    assert clip.depth is not None
    clip = dataclasses.replace(clip, confidence=np.full(clip.depth.shape, 0.5, np.float16))

    class Source(ToySource):
        def make(self, clip_id: str):  # type: ignore[no-untyped-def]
            return clip

    prepare(Source({"a": Shape(query_only=True)}), tmp_path / "toy", plans=(), workers=1)
    found = PreparedDataset(tmp_path / "toy").confidence("a", [5])
    assert found is not None and (found == 0.5).all()
    shutil.rmtree(clip_folder(tmp_path / "toy", "a") / "gt.zarr/confidence")
    refused(
        tmp_path / "toy",
        lambda opened: opened.confidence("a", [5]),
        clip_folder(tmp_path / "toy", "a") / "gt.zarr/confidence/c/0/0/0",
    )


def test_an_array_of_zeros_has_no_shard_and_is_read(tmp_path: Path) -> None:
    clip = toy_clip("a", Shape(query_only=True))
    assert clip.instance is not None
    clip.instance[:] = 0

    class Source(ToySource):
        def make(self, clip_id: str):  # type: ignore[no-untyped-def]
            return clip

    prepare(Source({"a": Shape(query_only=True)}), tmp_path / "toy", plans=(), workers=1)
    assert not (clip_folder(tmp_path / "toy", "a") / "gt.zarr/instance/c").exists()
    assert not PreparedDataset(tmp_path / "toy").instance_maps("a", [0, 73]).any()


def test_ground_truth_is_compared_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = PreparedDataset(dataset)
    opened.depth("a", [0])
    monkeypatch.setattr("data.dataset.clip_files.sha256_bytes", lambda content: "not called again")
    opened.depth("a", [0, 5])
    with pytest.raises(CorruptionError):
        opened.depth("b", [0])


def depth_in_child(opened: PreparedDataset, answers: Connection) -> None:
    try:
        opened.depth("a", [0])
        answers.send("read")
    except CorruptionError:
        answers.send("refused")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_compares_again(dataset: Path, method: str) -> None:
    opened = PreparedDataset(dataset)
    opened.depth("a", [0])
    path = clip_folder(dataset, "a") / "gt.zarr/zarr.json"
    path.write_bytes(path.read_bytes().replace(b"73", b"74"))
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=depth_in_child, args=(opened, theirs))
    child.start()
    assert ours.poll(60) and ours.recv() == "refused"
    child.join()


def test_every_flip_in_the_record_of_a_clip_is_found(dataset: Path) -> None:
    """By readers, who have the index, and by `prepare`, which makes the index from the records."""
    path = clip_folder(dataset, "a") / "clip.json"
    whole = path.read_bytes()
    for place in range(0, len(whole), 61):
        path.write_bytes(flipped(whole, place, place % 8))
        refused_by_all = 0
        for read in (
            lambda: PreparedDataset(dataset).frames("a", [0]),
            lambda: PreparedDataset(dataset).depth("a", [0]),
            lambda: build_tables(dataset, ["a", "b"], SPLITS),
        ):
            with pytest.raises((CorruptionError, VersionError)):
                read()
            refused_by_all += 1
        assert refused_by_all == 3
    path.write_bytes((clip_folder(dataset, "b") / "clip.json").read_bytes())
    assert "index" in refused(dataset, lambda opened: opened.frames("a", [0]), path).problem


def test_tables_are_not_built_from_a_changed_table_of_a_clip(dataset: Path) -> None:
    path = clip_folder(dataset, "a") / "frames.parquet"
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(flipped(whole, place, place % 8))
        with pytest.raises(CorruptionError) as caught:
            build_tables(dataset, ["a", "b"], SPLITS)
        assert str(caught.value.where) == str(path)


def test_a_record_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.dataset.clip_files.VERSION", 1)
    write_clip(tmp_path, toy_clip("a", Shape()), n_classes=20, parameters_sha256="0" * 64)
    monkeypatch.undo()
    with pytest.raises(VersionError, match="another version"):
        read_clip_record(tmp_path, "a")


def test_changed_files_are_found_without_reading_the_others(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, clip = PreparedDataset(dataset), clip_folder(dataset, "a")
    hashed: list[Path] = []
    from configs.files import sha256_file

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256_file(path)

    assert opened.changed_files("a") == [] == opened.changed_files("b")
    monkeypatch.setattr("data.dataset.clip_files.sha256_file", counted)
    frame, other = clip / "frames/00005.jpg", clip / "frames/00009.jpg"
    shutil.copy2(clip_folder(dataset, "b") / "frames/00005.jpg", frame)  # older than the record, of another size
    other.write_bytes(flipped(other.read_bytes(), -20))
    (clip / "frames/00013.jpg").unlink()
    assert set(opened.changed_files("a")) == {frame, other, clip / "frames/00013.jpg"}
    assert [path for path in hashed if path.name != "clip.json"] == [other]
    assert opened.changed_files("b") == []
    for path in clip_folder(dataset, "b").rglob("*"):  # as after a copy that keeps no times
        if path.name != "clip.json":
            os.utime(path)
    assert opened.changed_files("b") == []
    assert len(hashed) > 80
    with pytest.raises(MissingError):
        opened.changed_files("c")


def test_arrays_are_not_kept_open_beyond_a_new_preparation(tmp_path: Path) -> None:
    """A dataset made again in the place of another one, read in the same process."""
    path = tmp_path / "toy"
    for frames in (81, 30):
        prepare(ToySource({"a": Shape(frames=frames)}), path, plans=(), workers=1)
        opened = PreparedDataset(path)
        positions = opened.query_positions("a")
        assert opened.depth("a", positions).shape[0] == len(positions)
        with pytest.raises(SpatialprobeError):
            opened.depth("a", [positions[-1] + 4])
        shutil.rmtree(path)
