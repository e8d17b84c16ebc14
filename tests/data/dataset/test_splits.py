"""Splits: by group, stable under growth, three-way, official lists respected."""

from __future__ import annotations

import pytest

from configs.errors import DatasetError
from data.dataset.splits import assign_splits, bucket, halve, hash_split, members


def assign(groups: dict[str, str], official: dict[str, str | None] | None = None) -> dict[str, str]:
    return assign_splits(groups, official or {}, select=0.1, report=0.1)


def test_bucket_is_frozen() -> None:
    """These values must never change: they decide who is tested on what."""
    assert [bucket(g) for g in ("scene0000", "scene0001", "room-7")] == [680, 967, 858]


def test_no_group_in_two_splits_and_growth_moves_nothing() -> None:
    groups = {f"scene{i:04d}_{k:02d}": f"scene{i:04d}" for i in range(200) for k in range(3)}
    half = dict(list(groups.items())[:300])
    first, grown = assign(half), assign(groups)
    assert all(grown[clip_id] == split for clip_id, split in first.items())
    for group in set(groups.values()):
        assert len({grown[c] for c, g in groups.items() if g == group}) == 1


def test_shares() -> None:
    names = [hash_split(f"g{i}", select=0.2, report=0.1) for i in range(4000)]
    assert abs(names.count("select") / 4000 - 0.2) < 0.03 and abs(names.count("report") / 4000 - 0.1) < 0.03
    assert {hash_split(f"g{i}", select=0, report=0) for i in range(100)} == {"train"}
    assert abs([halve(f"g{i}") for i in range(4000)].count("select") / 4000 - 0.5) < 0.04


def test_salt_changes_the_assignment() -> None:
    groups = [f"g{i}" for i in range(100)]
    assert [hash_split(g) for g in groups] != [hash_split(g, salt="other") for g in groups]


def test_official_lists() -> None:
    groups = {"a_0": "a", "a_1": "a", "b_0": "b"}
    assert assign(groups, {"a_0": "report", "a_1": "report", "b_0": "train"}) == {
        "a_0": "report",
        "a_1": "report",
        "b_0": "train",
    }
    with pytest.raises(DatasetError, match="group a is cut"):
        assign(groups, {"a_0": "report", "a_1": "train"})
    with pytest.raises(DatasetError, match="group a is cut"):
        assign(groups, {"a_0": "report"})
    with pytest.raises(DatasetError, match="unknown split"):
        assign(groups, {"a_0": "val", "a_1": "val"})


def test_schemes() -> None:
    splits = {"d": "report", "a": "train", "c": "select", "b": "report"}
    assert members(splits, "report") == ["b", "d"]
    assert members(splits, "report", "paper") == members(splits, "select", "paper") == ["b", "c", "d"]
    assert members(splits, "train", "paper") == ["a"]
    with pytest.raises(DatasetError):
        members(splits, "val")
