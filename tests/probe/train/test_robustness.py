"""Degenerate data: each gives a defined value or a clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from configs.errors import NonFiniteError
from probe.inputs.inputs import RememberingDataset
from probe.train.train import train

Configure = Callable[..., Any]


def values(root: Path, result: dict[str, Any], metric: str, split: str = "report") -> pd.DataFrame:
    table = pd.read_parquet(root / "runs" / result["run_id"] / "clips.parquet")
    return table[(table["metric"] == metric) & (table["split"] == split)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_features_name_the_clips(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    from cache.store import FeatureStore

    original = FeatureStore.read

    def poisoned(self: FeatureStore, items: Any, *args: Any, **kwargs: Any) -> Any:
        features: Any = original(self, items, *args, **kwargs)
        for i, item in enumerate(items):
            if item[0] == "room_03":
                features[i, 0, 0, 0, 0] = bad
        return features

    monkeypatch.setattr(FeatureStore, "read", poisoned)
    with pytest.raises(NonFiniteError) as error:
        train(configure(artifacts, "tagging"))
    assert "features: 1 of" in str(error.value) and "room_03" in str(error.value)


def test_non_finite_targets_name_the_clips(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.dataset.targets import geometry_targets as original

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        target = original(*args, **kwargs)
        target.points[0, 0, 0] = np.nan
        return target

    monkeypatch.setattr("data.dataset.samples.geometry_targets", poisoned)
    with pytest.raises(NonFiniteError, match="points"):
        train(configure(artifacts, "geometry"))


def test_classes_without_positives_are_null(artifacts: Path, configure: Configure) -> None:
    (result,) = train(configure(artifacts, "tagging"))
    by_name = {row["name"]: row for row in result["classes"]}
    assert by_name["wall"]["ap"] is not None and by_name["wall"]["positives"] > 0
    assert by_name["bathtub"]["ap"] is None and by_name["bathtub"]["positives"] == 0
    table = pd.read_parquet(artifacts / "results" / "results.parquet")
    if result["report"]["ap_tail"]["value"] is None:
        assert table["report.ap_tail"].isna().all()


def test_clip_without_instances(artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RememberingDataset.instance_maps

    def blank(self: RememberingDataset, clip_id: str, positions: Any) -> Any:
        maps = original(self, clip_id, positions)
        return maps * 0 if clip_id in ("room_00", "room_09") else maps

    monkeypatch.setattr(RememberingDataset, "instance_maps", blank)
    (result,) = train(configure(artifacts, "instance"))
    found: Any = values(artifacts, result, "t_miou").set_index("clip_id")
    assert np.isnan(found.at["room_09", "value"]) and found.at["room_09", "reason"] == "no objects"
    assert result["report"]["t_miou"]["undefined"] == 1 and result["report"]["t_miou"]["n"] == 2


def test_static_camera(artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RememberingDataset.cameras

    def still(self: RememberingDataset, clip_id: str, positions: Any) -> Any:
        cameras = original(self, clip_id, positions)
        return cameras._replace(cam2world=np.tile(np.eye(4, dtype=np.float32), (len(positions), 1, 1)))

    monkeypatch.setattr(RememberingDataset, "cameras", still)
    (result,) = train(configure(artifacts, "geometry"))
    assert result["report"]["auc_30"]["n"] == 3  # scored by rotation alone
    assert result["report"]["tac_5"]["value"] is None and result["report"]["tac_5"]["undefined"] == 3


def test_all_invalid_depth(artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    original = RememberingDataset.depth

    def unknown(self: RememberingDataset, clip_id: str, positions: Any) -> Any:
        depth = original(self, clip_id, positions)
        return depth * 0 if clip_id in ("room_01", "room_10") else depth

    monkeypatch.setattr(RememberingDataset, "depth", unknown)
    (result,) = train(configure(artifacts, "geometry", recipe__batch=1))
    found: Any = values(artifacts, result, "abs_rel").set_index("clip_id")
    assert np.isnan(found.at["room_10", "value"]) and "no usable geometry" in found.at["room_10", "reason"]
    assert result["report"]["abs_rel"]["undefined"] == 1 and result["report"]["loss"]["undefined"] == 1


def test_nothing_to_learn_from_leaves_the_weights(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RememberingDataset.depth
    monkeypatch.setattr(RememberingDataset, "depth", lambda self, clip, queries: original(self, clip, queries) * 0)
    (result,) = train(configure(artifacts, "geometry"))
    assert result["report"]["abs_rel"]["value"] is None and result["best_score"] is None
    state = torch.load(artifacts / "runs" / result["run_id"] / "last.ckpt", weights_only=True)
    assert state["rounds_done"] == 4
