"""Hashes of weight files: every bit counts, a file is read once, and the hub's own hashes are compared."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import commands
from configs.errors import ModelError
from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.weights import hashes
from extract.weights.hashes import file_hashes
from extract.weights.snapshot import content_hash, identity_of
from tests.extract.pictures import make

OLD = time.time() - 60
AGAIN = "get it again"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files whose content is read to be hashed."""
    read: list[Path] = []
    original = hashes.hash_file

    def spy(file: Path, advance: object) -> str:
        read.append(file)
        return original(file, advance)  # type: ignore[arg-type]

    monkeypatch.setattr(hashes, "hash_file", spy)
    monkeypatch.setattr(hashes, "SETTLED_S", -1.0)  # files of a test are young
    yield read


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


def test_a_bit_in_the_middle_of_a_tensor_counts(tmp_path: Path) -> None:
    """Ends of tensors alone would not show it."""
    file = tmp_path / "model.safetensors"
    save_file({"weight": np.zeros(1 << 16, np.float32)}, file)
    before = content_hash(tmp_path)
    seen = {before}
    places = [file.stat().st_size // 2, *random.Random(0).sample(range(file.stat().st_size), 20)]
    for place in places:
        flip(file, place)
        seen.add(content_hash(tmp_path))
        flip(file, place)
    assert len(seen) == 1 + len(set(places)) and content_hash(tmp_path) == before


def test_a_hash_is_the_usual_sha256_whatever_the_size(tmp_path: Path) -> None:
    for number, size in enumerate((0, 1, hashes.PIECE, hashes.PIECE + 1)):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(os.urandom(size))
        assert file_hashes([file], None) == {file: hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_file_is_read_once(tmp_path: Path, opened: list[Path]) -> None:
    file, memory = tmp_path / "a.safetensors", tmp_path / "memory"
    file.write_bytes(b"one")
    first = file_hashes([file], memory)
    link = tmp_path / "link.safetensors"
    link.symlink_to(file)
    assert file_hashes([link], memory) == {link: first[file]}
    assert opened == [file]
    assert file_hashes([file], None) == first and opened == [file, file]  # without a memory it is read


def test_changes_that_keep_size_and_time_are_seen(tmp_path: Path, opened: list[Path]) -> None:
    """The time set back, and another file of the same time moved over it."""
    file, memory = tmp_path / "a.safetensors", tmp_path / "memory"
    file.write_bytes(b"one")
    os.utime(file, (OLD, OLD))
    one = file_hashes([file], memory)[file]
    time.sleep(0.02)  # longer than a tick of the file system's clock
    file.write_bytes(b"two")
    os.utime(file, (OLD, OLD))
    assert file_hashes([file], memory)[file] == hashlib.sha256(b"two").hexdigest() != one
    other = tmp_path / "other"
    other.write_bytes(b"ten")
    os.utime(other, (OLD, OLD))
    other.replace(file)
    assert file_hashes([file], memory)[file] == hashlib.sha256(b"ten").hexdigest()


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    """A second change could fall into the same tick of the clock and leave no trace."""
    file, memory = tmp_path / "a.safetensors", tmp_path / "memory"
    file.write_bytes(b"one")
    file_hashes([file], memory)
    assert not memory.exists()


def test_a_damaged_memory_is_computed_anew(tmp_path: Path, opened: list[Path]) -> None:
    file, memory = tmp_path / "a.safetensors", tmp_path / "memory"
    file.write_bytes(b"one")
    right = file_hashes([file], memory)
    (record,) = memory.iterdir()
    sound = record.read_bytes()
    for place in range(len(sound)):
        record.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert file_hashes([file], memory) == right, place
    for content in (b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", sound[: len(sound) // 2]):
        record.write_bytes(content)
        assert file_hashes([file], memory) == right
        assert record.read_bytes() == sound


def test_a_memory_that_cannot_be_written_costs_only_time(tmp_path: Path, opened: list[Path]) -> None:
    file, memory = tmp_path / "a.safetensors", tmp_path / "memory"
    file.write_bytes(b"one")
    memory.write_text("not a folder")
    assert file_hashes([file], memory) == file_hashes([file], None)


def test_many_writers_of_one_memory(tmp_path: Path, opened: list[Path]) -> None:
    files, memory = [tmp_path / f"{number}.safetensors" for number in range(8)], tmp_path / "memory"
    for file in files:
        file.write_bytes(os.urandom(1000))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: file_hashes(files, memory), range(16)))
    assert all(each == found[0] for each in found)
    opened.clear()
    assert file_hashes(files, memory) == found[0] and not opened
    assert len(list(memory.iterdir())) == 8  # nothing unfinished is left


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"one")

    def meanwhile(path: Path, advance: object) -> str:
        path.write_bytes(b"three")
        return "0" * 64

    monkeypatch.setattr(hashes, "hash_file", meanwhile)
    with pytest.raises(ModelError, match="changed while it was read"):
        file_hashes([file], tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_reading_much_says_how_far_it_is_and_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hashes, "LARGE", 1)
    file = tmp_path / "a.safetensors"
    file.write_bytes(bytes(3_000_000))
    with caplog.at_level("INFO"):
        file_hashes([file], tmp_path / "memory")
    assert "hashed 3 MB of weights in 0 s, " in caplog.text and "/s; remembered in " in caplog.text


# ---- the hub's cache


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot as the hub's cache keeps it: links to blobs under their hashes, SHA-256 or Git's SHA-1."""
    repository = tmp_path / "models--someone--model"
    folder = repository / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, content in (("model.safetensors", os.urandom(100_000)), ("config.json", b'{"a": 1}')):
        large = name.endswith(".safetensors")
        whole = content if large else b"blob %d\0" % len(content) + content
        blob = repository / "blobs" / (hashlib.sha256 if large else hashlib.sha1)(whole).hexdigest()
        blob.write_bytes(content)
        (folder / name).symlink_to(Path("../../blobs") / blob.name)
    return folder


def test_a_sound_snapshot_is_its_commit(snapshot: Path, tmp_path: Path) -> None:
    known = {"hub_id": "someone/model", "revision": "abc"}
    assert identity_of(snapshot) == identity_of(snapshot, tmp_path / "memory") == known
    (snapshot / "README.md").write_text("says nothing about values")
    assert identity_of(snapshot) == known


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_flipped_bit_in_the_hubs_cache_is_refused(snapshot: Path, name: str) -> None:
    blob = (snapshot / name).resolve()
    flip(blob, blob.stat().st_size // 2)
    with pytest.raises(ModelError, match="its bytes are not those that were downloaded") as caught:
        identity_of(snapshot, None, AGAIN)
    text = str(caught.value)
    assert caught.value.expected == blob.name and f"rm {blob} {snapshot / name}" in text and AGAIN in text
    with pytest.raises(ModelError, match="hf download someone/model"):
        identity_of(snapshot)


def test_a_file_put_into_a_snapshot_by_hand_is_part_of_the_identity(snapshot: Path) -> None:
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").write_text(json.dumps({"a": 2}))
    first = identity_of(snapshot)
    assert first["revision"] == "abc" and len(first["content"]) == 64
    (snapshot / "config.json").write_text(json.dumps({"a": 3}))
    assert identity_of(snapshot)["content"] != first["content"]


def test_a_damaged_download_stops_before_anything_is_made(
    root: Path, snapshot: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.extract.verbs import call

    monkeypatch.setattr("extract.vlm.base.find_weights", lambda *args, **kwargs: snapshot)
    flip((snapshot / "model.safetensors").resolve(), 50_000)
    assert call("run", "model=qwen3-vl-2b", "dataset=toy", f"root={root}") == 1
    err = capsys.readouterr().err
    assert "damaged" in err and commands.extract("download", model="qwen3-vl-2b") in err
    assert not list(root.rglob("store.json"))


def test_weights_in_a_folder_are_read_once_per_root(tiny_cache: str, tmp_path: Path, opened: list[Path]) -> None:
    """A second start reads none of them; latents and prompts are told apart by the same hashes."""
    folder = make("cogvideox-t2v-2b", tiny_cache).source.folders["vae"].parent  # type: ignore[attr-defined]
    for _ in range(2):
        variant = Variant(weights=str(folder), cache=str(tmp_path), cache_latents=True)
        source = build_adapter(load_model("cogvideox-t2v-2b"), variant).source  # type: ignore[attr-defined]
        assert set(source.identity["main"]) == {"content"}
        assert len(source.part_digest("vae", {})) == 20
    assert len(opened) == len(set(opened)) == len(list(folder.rglob("*.safetensors"))) + 3  # and each config.json
