"""From clips to features: seats in a batch decide the bits, whoever else is in it; blocks added later are the same."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from extract.adapter import Batch
from extract.controls.maps import MapSource
from extract.job.forward import prepare, seats
from extract.job.request import resolve_request
from tests.extract.job.jobs import checksums, config, fail_once, run, store_of


@pytest.mark.parametrize("batch", ["2", "3", "auto"])
def test_batches_give_the_same_store(root: Path, undisturbed: dict[str, object], batch: str) -> None:
    assert run(config(root, batch=batch)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_layers_and_levels_are_added_with_the_same_noise(
    root: Path, tiny_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block added later is bitwise what a run with both blocks gives."""
    import pandas as pd

    monkeypatch.setattr("extract.job.request.artifact_root", lambda root: Path(tiny_cache))
    tiny: dict[str, Any] = {
        "model": "cogvideox-t2v-2b",
        "weights": "random",
        "size": "tiny",
        "grid": ["native"],
        "limit": 1,
    }
    late = config(root, **tiny, layers=["2"], cache_latents=True)
    assert run(late) == 0
    (log,) = (root / "logs").rglob("extract_log.parquet")
    assert (pd.read_parquet(log)["parameters"] > 10_000).all()
    both = replace(late, layers=["2", "4"], noise=["index:749", "0.3"])
    assert run(both) == 0
    store = store_of(both)
    assert sorted(store.arrays) == [f"dit.b{block}.{level}.6x9" for block in (2, 4) for level in ("s0302", "s0782")]
    request = resolve_request(both, "cpu")
    adapter = request.adapter()
    adapter.load([tap for tap, _ in request.arrays.values()])

    ready = prepare(request.open_dataset(), adapter, "clip_00", pin=False)
    inputs = {name: value[None] for name, value in ready.inputs.items()}
    expected = adapter.forward(Batch(clip_ids=["clip_00"], inputs=inputs))
    for name, (tap, spec) in request.arrays.items():
        stored = store.read([("clip_00", name, list(range(spec.rows)))])[0]
        assert torch.equal(stored, expected[tap.key][0].half())


def test_a_clips_bits_do_not_depend_on_who_else_is_in_its_batch(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic of a batch differs with its size and with the place in it; here much more than in the last bits."""

    original = MapSource.forward

    def uneven(self: MapSource, batch: Batch) -> Mapping[str, torch.Tensor]:
        place = torch.arange(len(batch.clip_ids)).view(-1, 1, 1, 1, 1)
        return {key: value + len(batch.clip_ids) + 0.1 * place for key, value in original(self, batch).items()}

    monkeypatch.setattr(MapSource, "forward", uneven)
    settings = config(root, batch="3")
    assert run(settings) == 0
    expected = checksums(store_of(settings))
    shutil.rmtree(root / "features")
    assert run(replace(settings, limit=2)) == 0  # the third of the first group comes alone, after its neighbours
    reason = RuntimeError("read failed")
    with monkeypatch.context() as patch:
        fail_once(patch, MapSource, "preprocess", lambda source, clip: clip.clip_id, reason)
        assert run(settings) == 1  # nobody is in the batch of those that failed when they are tried again
    assert run(settings) == 0
    assert checksums(store_of(settings)) == expected


@pytest.mark.parametrize(
    ("numbers", "seated", "places"),
    [([4, 5, 6, 7], [0, 1, 2, 3], [0, 1, 2, 3]), ([6, 7], [0, 0, 0, 1], [2, 3]), ([5], [0, 0, 0, 0], [1])],
)
def test_seats_follow_from_numbers(numbers: list[int], seated: list[int], places: list[int]) -> None:
    assert seats(numbers, 4) == (seated, places)
