"""Files and folders are whole or not there, for several processes at once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from configs import files


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "above" / "folder"
    with files.atomic_folder(target) as work:
        (work / "a").write_bytes(b"1")
        assert not target.exists()
    assert left(target) == ["a"] and left(tmp_path / "above") == ["folder"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "folder") as work:
        (work / "a").write_bytes(b"1")
        raise RuntimeError
    assert left(tmp_path) == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_that_somebody_else_made_meanwhile(tmp_path: Path, keep: bool) -> None:
    target = tmp_path / "folder"

    def make() -> None:
        with files.atomic_folder(target, keep_other=keep, durable=False) as work:
            (work / "a").write_bytes(b"ours")
            target.mkdir()
            (target / "a").write_bytes(b"theirs")

    if keep:
        make()
    else:
        with pytest.raises(OSError, match="not empty"):
            make()
    assert left(tmp_path) == ["folder"] and (target / "a").read_bytes() == b"theirs"


def test_only_durable_folders_are_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[str] = []
    monkeypatch.setattr(files, "fsync_path", lambda path: forced.append(path.name))
    for name, durable in (("kept", True), ("made again", False)):
        with files.atomic_folder(tmp_path / name, durable=durable) as work:
            (work / "file").write_bytes(b"1")
    assert forced[0] == "file" and forced[-1] == tmp_path.name and len(forced) == 3


def test_sizes_and_digests(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    assert files.folder_bytes(tmp_path) == 3
    digest = hashlib.sha256(b"abc").hexdigest()
    assert files.sha256_bytes(b"abc") == files.sha256_file(tmp_path / "sub" / "a") == digest
    assert list(files.file_digests(tmp_path)) == ["b", "sub/a"]


def test_free_space_of_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    stat = os.statvfs(tmp_path)
    found = files.free_bytes(tmp_path / "not" / "yet")
    assert found == pytest.approx(stat.f_bavail * stat.f_frsize, rel=0.05)
