"""Loading just the tensors that are needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from configs.errors import ModelError
from extract.weights.checkpoint import Checkpoint, fill, seeded
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


@pytest.mark.parametrize("content", [b"", b"\x05", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        sorted(Checkpoint(tmp_path).names)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"weight_map": 3}'])
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
