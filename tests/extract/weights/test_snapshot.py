"""Finding the weights of a model on this machine, and naming them in a fingerprint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs import commands
from configs.errors import ModelError
from extract.weights.snapshot import content_hash, find_weights, identity_of
from tests.extract.weights.network import Sharded


def test_absent_weights_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        find_weights("hub", "someone/absent-model", "0" * 40, model="wan-t2v-1.3b")
    text = str(caught.value)
    assert commands.extract("download", model="wan-t2v-1.3b") in text
    assert "weights=/path/to/folder" in text
    assert commands.extract("run", model="wan-t2v-1.3b", weights="random", size="tiny") in text
    with pytest.raises(ModelError, match="no folder /no"):
        find_weights("/no/such/folder", None, None, model="wan-t2v-1.3b")
    assert find_weights(str(tmp_path), None, None, model="wan-t2v-1.3b") == tmp_path


def test_content_identifies_weights(sharded: Sharded) -> None:
    folder, _ = sharded
    before = content_hash(folder)
    assert identity_of(folder) == {"content": before}
    path = folder / "part-2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert (changed := content_hash(folder)) != before
    for name in (
        "model.safetensors.index.json",
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "special_tokens_map.json",
    ):
        (folder / name).write_text("{}")
        assert content_hash(folder) != changed, name
        changed = content_hash(folder)
    (folder / "README.md").write_text("says nothing about values")
    assert content_hash(folder) == changed
    (folder / "spatialprobe.json").write_text(json.dumps({"hub_id": "a/b", "revision": "c"}))
    assert identity_of(folder) == {"hub_id": "a/b", "revision": "c", "content": changed}  # nothing proves the claim
    (folder / "spatialprobe.json").write_text("{")
    with pytest.raises(ModelError, match="can't read where the weights come from"):
        identity_of(folder)


def test_hub_snapshots_are_identified_by_commit(tmp_path: Path) -> None:
    folder = tmp_path / "models--Wan-AI--Wan2.1" / "snapshots" / "abc123"
    folder.mkdir(parents=True)
    assert identity_of(folder) == {"hub_id": "Wan-AI/Wan2.1", "revision": "abc123"}
