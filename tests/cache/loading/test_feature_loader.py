"""Order, resume, ranks, buffers and failures of the loader."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import FeatureLoader, FeatureStore
from cache.loading.feature_loader import epoch_order, rank_batches
from configs.errors import MissingError, StoreError
from tests.stores import make_features, make_spec

ONE, TWO = make_spec("one"), make_spec("two", dtype="float32", channels=3)


@pytest.fixture
def store(small: Callable[..., FeatureStore]) -> FeatureStore:
    return small(ONE, TWO, clips=5)


def samples_of(store: FeatureStore) -> list[Any]:
    return [(clip_id, "one", (row, (row + 1) % 4)) for clip_id in store.clips for row in range(4)]


def indices(loader: FeatureLoader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


def test_batches_hold_what_was_asked_for(store: FeatureStore) -> None:
    samples = samples_of(store)
    for batch in FeatureLoader(store, samples, 6, seed=3):
        assert batch["features"].shape == (len(batch["index"]), 2, 3, 5, 8)
        for number, features in zip(batch["index"].tolist(), batch["features"], strict=True):
            _, _, rows = samples[number]
            assert torch.equal(features, make_features(ONE, number // 4).bfloat16()[list(rows)])


def test_several_items_per_sample(store: FeatureStore) -> None:
    samples = [[(clip_id, "one", (1,)), (clip_id, "two", (2, 0))] for clip_id in store.clips]
    batch = next(iter(FeatureLoader(store, samples, 5, shuffle=False)))
    one, two = batch["features"]
    assert one.shape == (5, 1, 3, 5, 8) and two.shape == (5, 2, 3, 5, 3)
    assert torch.equal(two[3], make_features(TWO, 3)[[2, 0]])


def test_order_depends_on_seed_and_epoch_alone(store: FeatureStore) -> None:
    loader = FeatureLoader(store, samples_of(store), 3, seed=1)
    first, second = indices(loader), indices(loader)
    assert first != second
    assert sorted(number for part in first for number in part) == list(range(20))
    again = FeatureLoader(store, samples_of(store), 3, seed=1, buffers=1)
    again.set_epoch(1)
    assert indices(again) == second
    assert indices(FeatureLoader(store, samples_of(store), 3, seed=2)) != first
    assert indices(FeatureLoader(store, samples_of(store), 8, shuffle=False)) == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, 20)),
    ]


@pytest.mark.parametrize("stop_after", [1, 4, 7])
def test_resumes_in_the_middle_of_an_epoch(store: FeatureStore, stop_after: int) -> None:
    whole = FeatureLoader(store, samples_of(store), 3, seed=5)
    expected = indices(whole) + indices(whole)
    loader = FeatureLoader(store, samples_of(store), 3, seed=5)
    seen = []
    for batch in loader:
        seen.append(batch["index"].tolist())
        if len(seen) == stop_after:
            state = loader.state_dict()
            break
    resumed = FeatureLoader(store, samples_of(store), 3, seed=5)
    resumed.load_state_dict(state)
    resumed.set_epoch(state["epoch"])  # as Lightning does
    if stop_after < 7:
        seen += indices(resumed)
    else:
        resumed.set_epoch(1)
    assert seen + indices(resumed) == expected
    with pytest.raises(StoreError, match="another seed"):
        FeatureLoader(store, samples_of(store), 3, seed=6).load_state_dict(state)


@settings(max_examples=200, deadline=None)
@given(
    count=st.integers(0, 200),
    batch=st.integers(1, 9),
    world=st.integers(1, 7),
    epoch=st.integers(0, 3),
    drop_last=st.booleans(),
)
def test_ranks_share_without_padding_or_repeats(
    count: int, batch: int, world: int, epoch: int, drop_last: bool
) -> None:
    order = epoch_order(count, 11, epoch, shuffle=True)
    shares = [rank_batches(order, batch, rank, world, drop_last) for rank in range(world)]
    seen = [int(i) for share in shares for part in share for i in part]
    assert len(seen) == len(set(seen)) and set(seen) <= set(range(count))
    if drop_last:
        assert len({len(share) for share in shares}) == 1
        assert all(len(part) == batch for share in shares for part in share)
        assert count - len(seen) < batch * world
    else:
        assert len(seen) == count
        sizes = [sum(map(len, share)) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_kept_batches_are_never_overwritten(store: FeatureStore) -> None:
    loader = FeatureLoader(store, samples_of(store), 2, seed=1, buffers=2)
    parts = [batch["features"][1] for batch in loader]  # a view keeps its buffer
    loader.set_epoch(0)
    for part, batch in zip(parts, loader, strict=True):
        assert torch.equal(part, batch["features"][1])


def test_buffers_are_reused(store: FeatureStore) -> None:
    loader = FeatureLoader(store, samples_of(store), 2, buffers=3)
    places = {batch["features"].untyped_storage().data_ptr() for _ in range(3) for batch in loader}
    assert len(places) <= 4  # one more may be made while the consumer is faster than the disk
    assert loader.ring.made <= 4


def test_samples_and_labels_per_epoch(store: FeatureStore) -> None:
    def draw(epoch: int) -> list[Any]:
        return [(clip_id, "one", (epoch % 4,)) for clip_id in store.clips]

    def attach(numbers: Any, epoch: int) -> dict[str, Any]:
        return {"label": torch.as_tensor(numbers) * 10, "epoch": epoch}

    loader = FeatureLoader(store, draw, 5, attach=attach)
    for epoch in range(3):
        (batch,) = list(loader)
        assert batch["epoch"] == epoch and torch.equal(batch["label"], batch["index"] * 10)
        number = int(batch["index"][0])
        assert torch.equal(batch["features"][0], make_features(ONE, number).bfloat16()[[epoch]])


def test_failures_reach_the_caller_and_no_thread_stays(small: Callable[..., FeatureStore]) -> None:
    store = small(ONE, clips=4, written=[0, 1])
    before = set(threading.enumerate())
    loader = FeatureLoader(store, [(clip_id, "one", (0,)) for clip_id in store.clips], 1, shuffle=False)
    with pytest.raises(MissingError, match="scene0002 has no committed features"):
        list(loader)
    iterator = iter(FeatureLoader(store, [("scene0000", "one", (0,))] * 50, 1, buffers=1))
    held = next(iterator)
    del iterator  # given up in the middle, with the thread waiting for a buffer
    assert held["features"].shape == (1, 1, 3, 5, 8)
    assert set(threading.enumerate()) <= before  # threads of earlier tests may end meanwhile
    partial = FeatureLoader(store, [("scene0003", "one", (0,))], 1, allow_partial=True)
    assert torch.isnan(next(iter(partial))["features"].float()).all()
    assert store.partial == {("scene0003", "one")}


def test_lightning_trains_from_it_and_resumes(store: FeatureStore, tmp_path: Any) -> None:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Probe(LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(8, 1)
            self.seen: list[list[int]] = []

        def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
            self.seen.append(batch["index"].tolist())
            loss: torch.Tensor = self.layer(batch["features"].float()).square().mean()
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-9)

    def fit(checkpoint: str | None = None) -> Probe:
        saver = ModelCheckpoint(tmp_path, "middle", every_n_train_steps=10, save_top_k=-1)
        quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
        module = Probe()
        trainer = Trainer(max_steps=13, accelerator="cpu", callbacks=[saver], default_root_dir=tmp_path, **quiet)
        trainer.fit(module, FeatureLoader(store, samples_of(store), 3, seed=5), ckpt_path=checkpoint)
        return module

    reference = FeatureLoader(store, samples_of(store), 3, seed=5)
    expected = indices(reference) + indices(reference)
    assert fit().seen == expected[:13]
    assert fit(str(tmp_path / "middle.ckpt")).seen == expected[10:13]


def test_impossible_settings(store: FeatureStore) -> None:
    wrong: tuple[dict[str, Any], ...] = ({"rank": 1}, {"batch_size": 0}, {"buffers": 0})
    for options in wrong:
        with pytest.raises(StoreError, match="rank must be below"):
            FeatureLoader(store, [], **{"batch_size": 1, **options})
    assert list(FeatureLoader(store, [], 4)) == []
