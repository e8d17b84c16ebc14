"""The pass over stores: equal to brute force, whatever the order and the workers, in memory that stays the same."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from cache.similarity import stream
from cache.similarity.batches import clips_of, make_batches, room_permutations
from cache.similarity.measures import FloatArray
from cache.similarity.samples import Sampling, choose_layers, read_samples, sample_units
from cache.similarity.stream import BatchJob, Settings, Similarity, similarity
from configs.errors import ConfigError, MissingError, StaleError
from tests.cache.similarity.stores import Features, clip_ids, layers, random_features, write
from tests.cache.similarity.test_measures import song, value

ROW = Sampling("row")


def rows(features: Features, clips: Sequence[str]) -> FloatArray:
    """One mean vector per row, clip by clip, as stored."""
    return np.concatenate([features[c].astype(np.float32).astype(np.float64).mean(axis=(1, 2)) for c in clips])


def related(features: Features, channels: int, seed: int) -> dict[str, np.ndarray]:
    """A noisy linear image of other features."""
    rng = np.random.default_rng(seed)
    width = next(iter(features.values())).shape[-1]
    matrix = rng.standard_normal((width, channels)) / np.sqrt(width)
    return {c: f @ matrix + 0.7 * rng.standard_normal((*f.shape[:-1], channels)) for c, f in features.items()}


def compare(a: Path, b: Path, settings: Settings, workers: int = 1) -> Similarity:
    from cache.store import FeatureStore

    return similarity(layers(FeatureStore.open(a)), layers(FeatureStore.open(b)), settings, workers=workers)


def test_one_batch_is_the_brute_force_value_of_all_clips(tmp_path: Path) -> None:
    clips = clip_ids(10)
    x = random_features(clips, (3, 2, 2, 6))
    y = related(x, 9, 1)
    write(tmp_path / "a", {"x": x})
    write(tmp_path / "b", {"y": y})
    found = compare(tmp_path / "a", tmp_path / "b", Settings(batch=32, permutations=0))
    assert (found.clips, found.rooms, found.samples, found.batches) == (10, 5, 30, 1)
    p, q = rows(x, clips), rows(y, clips)
    assert found.value[0, 0, 0] == pytest.approx(song(p, q) / np.sqrt(song(p, p) * song(q, q)), abs=1e-10)
    for measure, name in enumerate(found.settings.measures):
        assert found.value[measure, 0, 0] == pytest.approx(value(name, p, q), abs=2e-3)
    assert np.isnan(found.low).all() and np.isnan(found.p_value).all()


def test_batches_are_averaged_before_the_ratio_is_taken(tmp_path: Path) -> None:
    """Nguyen et al.: the mean of HSIC over batches, then CKA; a batch counts by its samples."""
    clips = clip_ids(26)
    x = random_features(clips, (2, 2, 2, 6))
    y = related(x, 9, 1)
    a = write(tmp_path / "a", {"x": x})
    write(tmp_path / "b", {"y": y})
    settings = Settings(("cka",), ROW, batch=8, permutations=0, seed=3)
    rooms = {entry.clip_id: entry.group_id for entry in a.entries}
    batches = [clips_of(batch) for batch in make_batches(rooms, 8, 3)]
    assert len(batches) == 3 and sorted(chain.from_iterable(batches)) == clips
    sums = np.zeros(3)
    for batch in batches:
        p, q = rows(x, batch), rows(y, batch)
        sums += len(p) * np.array([song(p, q), song(p, p), song(q, q)])
    found = compare(tmp_path / "a", tmp_path / "b", settings)
    assert found.value[0, 0, 0] == pytest.approx(sums[0] / np.sqrt(sums[1] * sums[2]), abs=1e-10)


def test_batches_estimate_what_the_whole_would_give(tmp_path: Path) -> None:
    clips = clip_ids(64)
    x = random_features(clips, (1, 1, 1, 6))
    y = related(x, 9, 1)
    single = {c: f"room{c}" for c in clips}
    write(tmp_path / "a", {"x": x}, rooms=single)
    write(tmp_path / "b", {"y": y}, rooms=single)
    whole = compare(tmp_path / "a", tmp_path / "b", Settings(("cka",), ROW, 64, 0)).value.item()
    small = [
        compare(tmp_path / "a", tmp_path / "b", Settings(("cka",), ROW, 8, 0, seed)).value.item() for seed in range(12)
    ]
    assert np.mean(small) == pytest.approx(whole, abs=0.03)


@pytest.mark.parametrize("pool", ["row", "clip", "cell"])
def test_order_of_clips_workers_and_layers_change_nothing(tmp_path: Path, pool: str) -> None:
    clips = clip_ids(24)
    x = random_features(clips, (2, 2, 3, 5))
    y = related(x, 7, 1)
    write(tmp_path / "a", {"x": x, "more": related(x, 3, 4)})
    write(tmp_path / "b", {"y": y})
    shuffled = [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]
    write(tmp_path / "a2", {"more": related(x, 3, 4), "x": {c: x[c] for c in shuffled}}, rooms=None)
    write(tmp_path / "b2", {"y": {c: y[c] for c in shuffled}})
    settings = Settings(sampling=Sampling(pool), batch=8, permutations=20)
    found = compare(tmp_path / "a", tmp_path / "b", settings)
    again = compare(tmp_path / "a2", tmp_path / "b2", settings)
    assert found.batches == 3
    for key in ("value", "low", "high", "p_value"):
        np.testing.assert_allclose(getattr(again, key)[:, ::-1], getattr(found, key), atol=1e-9)
    other = compare(tmp_path / "a", tmp_path / "b", Settings(sampling=Sampling(pool), batch=8, permutations=0, seed=5))
    assert not np.allclose(other.value, found.value, atol=1e-9)  # other batches


@pytest.mark.full
def test_processes_give_the_same_bits(tmp_path: Path) -> None:
    clips = clip_ids(16)
    x = random_features(clips, (2, 2, 2, 5))
    write(tmp_path / "a", {"x": x})
    write(tmp_path / "b", {"y": related(x, 7, 1)})
    settings = Settings(batch=6, permutations=10)
    one, two = (compare(tmp_path / "a", tmp_path / "b", settings, workers) for workers in (1, 2))
    assert one.batches == 3
    for key in ("value", "low", "high"):
        np.testing.assert_array_equal(getattr(one, key), getattr(two, key))


def test_a_job_that_was_sent_to_another_process_gives_the_same_bits(tmp_path: Path) -> None:
    store = write(tmp_path / "a", {"x": random_features(clip_ids(6), (2, 2, 2, 5))})
    rooms = {entry.clip_id: entry.group_id for entry in store.entries}
    batches = tuple(make_batches(rooms, 8, 0))
    job = BatchJob(tuple(layers(store)), (0,), (0,), ((0,), (1,)), batches, Settings(permutations=3))
    here, there = job("0"), pickle.loads(pickle.dumps(job))("0")
    np.testing.assert_array_equal(here.paired, there.paired)


def test_a_matrix_is_symmetric_with_ones_on_its_diagonal(tmp_path: Path) -> None:
    x = random_features(clip_ids(12), (2, 2, 2, 5))
    store = write(tmp_path / "a", {"x": x, "y": related(x, 7, 1), "z": random_features(clip_ids(12), (2, 2, 2, 5), 9)})
    found = similarity(layers(store), layers(store), Settings(batch=6, permutations=5))
    for matrix in found.value:
        np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-12)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        assert matrix[0, 1] > matrix[0, 2] + 0.1


def test_the_band_covers_independent_features_and_not_related_ones(tmp_path: Path) -> None:
    """Rows of a clip resemble each other: a band of rows shuffled one by one would be too narrow, and too low."""
    clips = clip_ids(16)
    x = random_features(clips, (5, 1, 1, 6))
    others = {f"y{seed}": random_features(clips, (5, 1, 1, 6), seed + 1) for seed in range(40)}
    a = write(tmp_path / "a", {"x": x, "image": related(x, 6, 3)})
    b = write(tmp_path / "b", others)
    found = similarity(layers(a)[:1], layers(b), Settings(batch=24, permutations=200))
    inside = (found.low <= found.value) & (found.value <= found.high)
    assert (inside.mean(axis=(1, 2)) >= 0.82).all(), inside.mean(axis=(1, 2))  # 33 of 40; 38 expected
    assert (found.p_value < 0.05).mean() < 0.12
    image = similarity(layers(a)[:1], layers(a)[1:], Settings(batch=24, permutations=200))
    assert (image.value > image.high).all() and (image.p_value < 0.01).all()
    low, high = _band_of_single_rows(rows(x, clips), rows(others["y0"], clips))
    assert ((low <= found.value[0]) & (found.value[0] <= high)).mean() < 0.6


def _band_of_single_rows(p: FloatArray, q: FloatArray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    low, high = np.quantile([value("cka", p, q[rng.permutation(len(q))]) for _ in range(200)], stream.BAND)
    return float(low), float(high)


def test_permutations_move_whole_rooms() -> None:
    orders = room_permutations([2, 2, 1, 3], samples=5, count=50, seed=(0, 1))
    blocks = [range(10), range(10, 20), range(20, 25), range(25, 40)]
    for order in orders:
        assert sorted(order) == list(range(40))
        starts = {block.start: block for block in blocks}
        place = 0
        while place < 40:
            block = starts.pop(int(order[place]))
            assert order[place : place + len(block)].tolist() == list(block)
            place += len(block)
    assert len({tuple(order) for order in orders}) > 10


@pytest.mark.parametrize("count", [5, 8, 12, 13, 47, 200])
def test_batches_hold_whole_rooms_and_two_at_least(count: int) -> None:
    rng = np.random.default_rng(count)
    rooms = {c: f"room{rng.integers(count // 2)}" for c in clip_ids(count)}
    largest = max(list(rooms.values()).count(room) for room in rooms.values())
    size = 3 * largest
    batches = make_batches(rooms, size, 0)
    assert sorted(chain.from_iterable(map(clips_of, batches))) == sorted(rooms)
    for batch in batches:
        assert len(batch) >= 2 and len(clips_of(batch)) < 2 * size
        assert all(len({rooms[clip_id] for clip_id in room}) == 1 for room in batch)
    assert sum(map(len, batches)) == len(set(rooms.values()))
    assert make_batches(dict(reversed(rooms.items())), size, 0) == batches


def test_a_room_larger_than_a_third_of_a_batch_is_refused_only_where_there_are_several() -> None:
    rooms = dict.fromkeys(clip_ids(10), "hall")
    assert len(make_batches(rooms, 16, 0)) == 1
    with pytest.raises(ConfigError, match="room hall is too large for a batch") as caught:
        make_batches(rooms, 5, 0)
    assert caught.value.fix == "batch=30"


def test_memory_does_not_grow_with_the_clips(tmp_path: Path) -> None:
    clips = clip_ids(96)
    x, y = (random_features(clips, (4, 1, 1, 256), seed) for seed in (0, 1))
    settings = Settings(("cka", "rsa"), ROW, batch=12, permutations=4)
    peaks = []
    for count in (24, 96):
        some = clips[:count]
        a = write(tmp_path / f"a{count}", {"x": {c: x[c] for c in some}})
        b = write(tmp_path / f"b{count}", {"y": {c: y[c] for c in some}})
        similarity(layers(a), layers(b), settings)  # the stores' own records of what they have read
        tracemalloc.start()
        try:
            found = similarity(layers(a), layers(b), settings)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert found.batches == count // 12
    assert peaks[1] < peaks[0] + 100_000, peaks  # the rows of 72 more clips are 590 kB in float64, per array


def test_frames_that_one_row_answers_are_one_sample(tmp_path: Path) -> None:
    clips = clip_ids(6)
    x = random_features(clips, (6, 1, 1, 4))
    y = random_features(clips, (3, 1, 1, 4), 1)
    a = write(tmp_path / "a", {"x": x})
    b = write(tmp_path / "b", {"y": y}, row_of_slot=(0, 1, 1, 1, 2, -1))
    (left,), (right,) = layers(a), layers(b)
    units = sample_units([left, right])
    assert units == [(0,), (1, 2, 3), (4,)]
    read = read_samples(left, clips[:1], units, ROW)
    maps = x[clips[0]].astype(np.float32)[:, 0, 0]
    np.testing.assert_allclose(read, [maps[0], maps[1:4].mean(axis=0), maps[4]], rtol=1e-6)
    np.testing.assert_allclose(read_samples(right, clips[:1], units, ROW), y[clips[0]][:, 0, 0], rtol=1e-6)
    pooled = read_samples(left, clips[:1], units, Sampling("clip"))
    np.testing.assert_allclose(pooled, read.mean(axis=0, keepdims=True), rtol=1e-6)


def test_cells_are_at_the_same_places_of_all_grids(tmp_path: Path) -> None:
    clips = clip_ids(2)
    fine = {c: np.stack(np.meshgrid(np.arange(8), np.arange(12), indexing="ij"), -1)[None] / 1.0 for c in clips}
    coarse = {c: f[:, ::4, ::3] for c, f in fine.items()}
    (a,), (b,) = (layers(write(tmp_path / n, {"x": f})) for n, f in (("a", fine), ("b", coarse)))
    units, sampling = sample_units([a, b]), Sampling("cell", cells=30)
    p, q = (read_samples(layer, clips, units, sampling) for layer in (a, b))
    assert p.shape == (60, 2)
    np.testing.assert_array_equal(p // [4, 3] * [4, 3], q)
    assert len(np.unique(p[:30], axis=0)) > 15 and not np.array_equal(p[:30], p[30:])


# ---- errors


def test_no_common_clips(tmp_path: Path) -> None:
    x = random_features(clip_ids(6), (2, 1, 1, 4))
    write(tmp_path / "a", {"x": x}, clips=clip_ids(6)[:3])
    write(tmp_path / "b", {"x": x}, source="other", clips=clip_ids(6)[3:])
    with pytest.raises(MissingError, match="0 in common; other x: 3, toy x: 3") as caught:
        compare(tmp_path / "a", tmp_path / "b", Settings())
    assert "extract run model=toy,other dataset=rooms" in (caught.value.fix or "")


def test_one_common_clip(tmp_path: Path) -> None:
    x = random_features(clip_ids(6), (5, 1, 1, 4))
    write(tmp_path / "a", {"x": x})
    write(tmp_path / "b", {"x": x}, clips=clip_ids(6)[:1])
    with pytest.raises(MissingError, match="at least 2"):
        compare(tmp_path / "a", tmp_path / "b", Settings())


def test_too_few_samples(tmp_path: Path) -> None:
    x = random_features(clip_ids(3), (5, 1, 1, 4))
    write(tmp_path / "a", {"x": x})
    with pytest.raises(MissingError, match="3 clips with 1 samples each"):
        compare(tmp_path / "a", tmp_path / "a", Settings(sampling=Sampling("clip")))


def test_only_clips_of_both_are_read(tmp_path: Path) -> None:
    clips = clip_ids(8)
    x = random_features(clips, (2, 1, 1, 4))
    write(tmp_path / "a", {"x": x}, clips=clips[:6])
    write(tmp_path / "b", {"x": x}, clips=clips[2:])
    found = compare(tmp_path / "a", tmp_path / "b", Settings(permutations=3))
    assert (found.clips, found.rooms) == (4, 2)


def test_unknown_array(tmp_path: Path) -> None:
    store = write(tmp_path / "a", {"dit.b1": random_features(clip_ids(4), (2, 1, 1, 4))})
    with pytest.raises(MissingError, match=r"no array 'dit\.b2'") as caught:
        choose_layers(store, "dit.b2")
    assert "dit.b1" in (caught.value.fix or "")
    assert [layer.array for layer in choose_layers(store, "dit.*")] == ["dit.b1"]


def test_other_versions_and_other_datasets(tmp_path: Path) -> None:
    x = random_features(clip_ids(4), (2, 1, 1, 4))
    write(tmp_path / "a", {"x": x})
    write(tmp_path / "b", {"x": x}, content="earlier ")
    write(tmp_path / "c", {"x": x}, dataset="others")
    with pytest.raises(StaleError, match="4 of 4 clips differ"):
        compare(tmp_path / "a", tmp_path / "b", Settings())
    with pytest.raises(ConfigError, match="toy on rooms, toy on others"):
        compare(tmp_path / "a", tmp_path / "c", Settings())


def test_no_common_frames(tmp_path: Path) -> None:
    x = random_features(clip_ids(4), (2, 1, 1, 4))
    write(tmp_path / "a", {"x": x}, row_of_slot=(0, 1, -1, -1))
    write(tmp_path / "b", {"x": x}, row_of_slot=(-1, -1, 0, 1))
    with pytest.raises(MissingError, match="no query frame that all arrays have features of"):
        compare(tmp_path / "a", tmp_path / "b", Settings())


def test_equal_samples_have_no_similarity_and_one_room_no_band(tmp_path: Path) -> None:
    clips = clip_ids(4)
    x = random_features(clips, (2, 1, 1, 4))
    a = write(
        tmp_path / "a", {"x": x, "flat": {c: np.ones((2, 1, 1, 4)) for c in clips}}, rooms=dict.fromkeys(clips, "r")
    )
    found = similarity(layers(a), layers(a), Settings())
    assert np.isnan(found.value[:, 1]).all() and not np.isnan(found.value[:, 0, 0]).any()
    assert np.isnan(found.low).all() and found.rooms == 1
