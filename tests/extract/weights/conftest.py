"""What the tests of weights share: a small network in shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.extract.weights.network import Sharded, network


@pytest.fixture
def sharded(tmp_path: Path) -> Sharded:
    """Four blocks in three shards, with an index, as published."""
    torch.manual_seed(0)
    full = network(4).to_empty(device="cpu")
    tensors = {name: torch.randn(value.shape) for name, value in full.state_dict().items()}
    place = {name: f"part-{0 if 'stem' in name else 1 + int(name.split('.')[1]) // 2}.safetensors" for name in tensors}
    for file in set(place.values()):
        save_file({name: tensors[name] for name in tensors if place[name] == file}, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    return tmp_path, tensors
