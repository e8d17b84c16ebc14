"""Latents and embeddings that are kept on disk: the same bits come back, or they are computed again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from extract.video.kept import kept

KEY = ["vae", "clip"]


def never() -> torch.Tensor:
    raise AssertionError("computed although it was kept")


def tensor(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(3)).to(dtype)


def only(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("spread", [False, True])
def test_the_same_bits_come_back(tmp_path: Path, dtype: torch.dtype, spread: bool) -> None:
    made = tensor(dtype).transpose(1, 2)
    assert torch.equal(kept(tmp_path, KEY, lambda: made, spread=spread), made)
    found = kept(tmp_path, KEY, never, spread=spread)
    assert torch.equal(found, made) and found.dtype == dtype


def test_every_flipped_bit_is_named_and_the_tensor_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path, KEY, tensor)
    path = only(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert torch.equal(kept(tmp_path, KEY, tensor), tensor()), place
        if path.read_bytes() == whole:
            assert [str(path) in record.getMessage() for record in caplog.records] == [True], place
        else:  # a byte that says nothing, as a space at the end of the header
            assert torch.equal(kept(tmp_path, KEY, never), tensor()), place
            path.write_bytes(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def without_digest(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"kept": tensor()}, path)


@pytest.mark.parametrize("damage", [cut, empty, without_digest])
def test_what_is_not_a_kept_tensor_is_computed_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    kept(tmp_path, KEY, tensor)
    path = only(tmp_path)
    whole = path.read_bytes()
    damage(path)
    assert torch.equal(kept(tmp_path, KEY, tensor), tensor())
    assert path.read_bytes() == whole


def test_the_tensor_of_another_key_is_not_taken(tmp_path: Path) -> None:
    kept(tmp_path, KEY, tensor)
    first = only(tmp_path)
    kept(tmp_path, ["other"], lambda: tensor() + 1)
    (second,) = set(tmp_path.iterdir()) - {first}
    shutil.copy(first, second)
    assert torch.equal(kept(tmp_path, ["other"], lambda: tensor() + 1), tensor() + 1)
