"""Finding weights, and loading just the tensors that are needed."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from configs import commands
from configs.errors import ModelError
from extract.weights.checkpoint import Checkpoint, fill, on_meta, seeded
from extract.weights.snapshot import content_hash, find_weights, identity_of


def network(blocks: int) -> nn.Module:
    with on_meta():
        module = nn.Module()
        module.stem = nn.Linear(3, 4)
        module.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(blocks))
    return module


@pytest.fixture
def sharded(tmp_path):
    """Four blocks in three shards, with an index, as published."""
    torch.manual_seed(0)
    full = network(4).to_empty(device="cpu")
    tensors = {name: torch.randn(value.shape) for name, value in full.state_dict().items()}
    place = {name: f"part-{0 if 'stem' in name else 1 + int(name.split('.')[1]) // 2}.safetensors" for name in tensors}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in tensors if place[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    return tmp_path, tensors


def deeper(name: str) -> bool:
    return name.startswith("blocks.")


def test_only_needed_shards_are_opened(sharded):
    folder, tensors = sharded
    (folder / "part-2.safetensors").unlink()  # blocks 2 and 3 were never downloaded
    module = fill(network(2), Checkpoint(folder), dropped=deeper)
    for name, value in module.state_dict().items():
        assert torch.equal(value, tensors[name])
    assert not module.training
    with pytest.raises(ModelError, match="a file of the weights is missing"):
        fill(network(3), Checkpoint(folder), dropped=deeper)


def test_missing_and_unexpected_tensors_are_refused(sharded):
    folder, _ = sharded
    with pytest.raises(ModelError, match="2 missing, first"):
        fill(network(5), Checkpoint(folder))
    with pytest.raises(ModelError, match="4 unexpected tensors"):
        fill(network(2), Checkpoint(folder))


def test_other_shapes_are_refused(sharded):
    folder, _ = sharded
    wrong = network(4)
    wrong.stem = nn.Linear(5, 4, device="meta")
    with pytest.raises(ModelError, match=r"stem\.weight has another shape"):
        fill(wrong, Checkpoint(folder))


def test_dtypes(sharded):
    folder, _ = sharded
    module = fill(network(4), Checkpoint(folder), dtype=torch.bfloat16, float32=lambda name: "stem" in name)
    assert module.stem.weight.dtype == torch.float32
    assert module.blocks[0].weight.dtype == torch.bfloat16


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_broken_files_are_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        sorted(Checkpoint(tmp_path).names)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": 3}'])
def test_broken_indices_are_refused(sharded, content):
    folder, _ = sharded
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="not a readable index of weights"):
        fill(network(4), Checkpoint(folder))


def test_cut_files_are_refused(sharded):
    folder, _ = sharded
    path = folder / "part-1.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        fill(network(4), Checkpoint(folder))


def test_absent_weights_say_what_to_do(monkeypatch, tmp_path):
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


def test_content_identifies_weights(sharded):
    folder, _ = sharded
    before = content_hash(folder)
    assert identity_of(folder) == {"content": before}
    path = folder / "part-2.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert (changed := content_hash(folder)) != before
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "special_tokens_map.json"):
        (folder / name).write_text("{}")
        assert content_hash(folder) != changed, name
        changed = content_hash(folder)
    (folder / "README.md").write_text("says nothing about values")
    assert content_hash(folder) == changed
    (folder / "spatialprobe.json").write_text(json.dumps({"hub_id": "a/b", "revision": "c"}))
    assert identity_of(folder) == {"hub_id": "a/b", "revision": "c"}


def test_hub_snapshots_are_identified_by_commit(tmp_path):
    folder = tmp_path / "models--Wan-AI--Wan2.1" / "snapshots" / "abc123"
    folder.mkdir(parents=True)
    assert identity_of(folder) == {"hub_id": "Wan-AI/Wan2.1", "revision": "abc123"}


def test_download_takes_the_shards_of_the_blocks_asked_for():
    from extract.job.download import needed_files

    sizes = dict.fromkeys(
        ["model_index.json", "transformer/config.json", "transformer/a.safetensors", "transformer/b.safetensors",
         "vae/c.safetensors", "assets/demo.png", "README.md", "text_encoder/d.safetensors"], 1
    )  # fmt: skip
    index = {
        "transformer": {
            "patch_embedding.weight": "a.safetensors",
            "blocks.3.x": "a.safetensors",
            "blocks.4.x": "b.safetensors",
        }
    }
    few = needed_files(sizes, index, None, deepest=4)
    assert "transformer/b.safetensors" not in few
    assert "assets/demo.png" not in few
    assert {"transformer/a.safetensors", "vae/c.safetensors", "text_encoder/d.safetensors", "README.md"} <= set(few)
    assert "transformer/b.safetensors" in needed_files(sizes, index, None, deepest=5)
    assert needed_files(sizes, index, ["vae"], deepest=5) == ["README.md", "model_index.json", "vae/c.safetensors"]


def test_random_weights_leave_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(1):
        one = torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(1):
        assert torch.equal(torch.randn(3), one)
