"""Loading just the tensors that are needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from configs.errors import ModelError
from extract.weights.checkpoint import HEADER_LIMIT, Checkpoint, explained, fill, seeded
from tests.extract.weights.network import Sharded, network


def deeper(name: str) -> bool:
    return name.startswith("blocks.")


def test_only_needed_shards_are_opened(sharded: Sharded) -> None:
    folder, tensors = sharded
    (folder / "part-2.safetensors").unlink()  # blocks 2 and 3 were never downloaded
    module = fill(network(2), Checkpoint(folder), dropped=deeper)
    for name, value in module.state_dict().items():
        assert torch.equal(value, tensors[name])
    assert not module.training
    with pytest.raises(ModelError, match="a file of the weights is missing"):
        fill(network(3), Checkpoint(folder), dropped=deeper)


def test_missing_and_unexpected_tensors_are_refused(sharded: Sharded) -> None:
    folder, _ = sharded
    with pytest.raises(ModelError, match="2 missing, first"):
        fill(network(5), Checkpoint(folder))
    with pytest.raises(ModelError, match="4 unexpected tensors"):
        fill(network(2), Checkpoint(folder))


def test_other_shapes_are_refused(sharded: Sharded) -> None:
    folder, _ = sharded
    wrong = network(4)
    wrong.stem = nn.Linear(5, 4, device="meta")
    with pytest.raises(ModelError, match=r"stem\.weight has another shape"):
        fill(wrong, Checkpoint(folder))


def test_dtypes(sharded: Sharded) -> None:
    folder, _ = sharded
    module = fill(network(4), Checkpoint(folder), dtype=torch.bfloat16, float32=lambda name: "stem" in name)
    assert module.get_parameter("stem.weight").dtype == torch.float32
    assert module.get_parameter("blocks.0.weight").dtype == torch.bfloat16


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05",
        b"\xff" * 64,
        b"\x02\0\0\0\0\0\0\0[]",
        (HEADER_LIMIT + 1).to_bytes(8, "little") + b"{}",
        len(DEEP).to_bytes(8, "little") + DEEP,
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        sorted(Checkpoint(tmp_path).names)


@pytest.mark.parametrize("shape", [[1 << 40, 1 << 40], [0, (1 << 63) - 1], [1 << 64], [-1, -4], [2.0, 2], None, [4]])
@pytest.mark.parametrize("indexed", [False, True])
def test_impossible_shapes_are_refused(sharded: Sharded, shape: object, indexed: bool) -> None:
    folder, _ = sharded
    path = folder / "part-0.safetensors"
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 48]}
    header = json.dumps({"stem.weight": entry, "stem.bias": {"dtype": "F32", "shape": [4], "data_offsets": [48, 64]}})
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(64))
    if not indexed:
        (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"not a readable safetensors file|has another shape") as caught:
        fill(network(4), Checkpoint(folder))
    assert str(folder) in str(caught.value) and "fix:" in str(caught.value)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/../../b.safetensors", ".."])
def test_indices_stay_in_their_folder(sharded: Sharded, name: str) -> None:
    """What lies elsewhere is not part of what identifies the weights."""
    folder, tensors = sharded
    table = dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(ModelError, match="names a file outside its folder"):
        fill(network(4), Checkpoint(folder))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": 3}', "[" * 100_000])
def test_broken_indices_are_refused(sharded: Sharded, content: str) -> None:
    folder, _ = sharded
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="not a readable index of weights"):
        fill(network(4), Checkpoint(folder))


def test_cut_files_are_refused(sharded: Sharded) -> None:
    folder, _ = sharded
    path = folder / "part-1.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        fill(network(4), Checkpoint(folder))


def test_random_weights_leave_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(1):
        one = torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(1):
        assert torch.equal(torch.randn(3), one)


def test_memory_that_runs_out_is_not_taken_for_a_broken_file(tmp_path: Path) -> None:
    """The runner answers it with a smaller batch."""
    for error in (torch.OutOfMemoryError("full"), MemoryError()):
        with pytest.raises(type(error)), explained("broken", tmp_path, "fetch it again"):
            raise error
    with pytest.raises(ModelError, match="KeyError: 'x'"), explained("broken", tmp_path, "fetch it again"):
        raise KeyError("x")
