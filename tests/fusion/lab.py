"""Small stores of two or three models on one dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cache import ArraySpec, ClipEntry, FeatureStore, store_path
from configs.errors import SpatialprobeError
from configs.files import sealed_json
from configs.names import parse_name
from data.dataset.clip import DatasetInfo
from data.dataset.layout import identity_record
from data.dataset.reader import DatasetIndex
from data.dataset.tables import parquet_bytes
from fusion.opening import view_by_name
from fusion.recipe import Choices
from tests.stores import make_features, write_clips

SPLITS = ["train", "train", "train", "select", "report"]
FRAMES = [0, *range(1, 74, 4)]


def spec_of(
    tap: str = "dit",
    *,
    block: int | None = 21,
    grid: tuple[int, int] = (4, 6),
    channels: int = 12,
    dtype: str = "bfloat16",
    rows: int = 20,
    pooling: str = "none",
    untrained: bool = False,
    shift: int = 0,
) -> ArraySpec:
    """One array whose rows follow the query slots; with fewer rows several slots share one."""
    row_of_slot = tuple(slot * rows // 20 for slot in range(20))
    frames = tuple(tuple(FRAMES[s] + shift for s in range(20) if row_of_slot[s] == row) for row in range(rows))
    return ArraySpec(
        "", tap, block, 30, None, grid, rows, channels, dtype, row_of_slot, frames, pooling, {"untrained": untrained}
    )


class Lab:
    """An artifact root with stores that differ as real models' do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clips = [f"clip{i}" for i in range(len(SPLITS))]

    @staticmethod
    def digests(content: str, count: int = len(SPLITS)) -> list[str]:
        """Digests of clips; other `content`, others."""
        digests = [f"{i:064x}" for i in range(count)]
        return [hashlib.sha256((content + digest).encode()).hexdigest() if content else digest for digest in digests]

    def dataset(
        self,
        splits: Sequence[str] = SPLITS,
        clips: Sequence[str] | None = None,
        content: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> DatasetIndex:
        """Write what names the splits of a prepared dataset: its identity and the index."""
        folder = self.root / "datasets" / "toy"
        folder.mkdir(parents=True, exist_ok=True)
        info = DatasetInfo(
            name="toy", kind="rooms", maker_version=1, parameters=dict(parameters or {"size": 8}), taxonomy=None,
            class_names=(), licence="",
        )  # fmt: skip
        (folder / "dataset.json").write_bytes(sealed_json(identity_record(info, {})))
        clips = self.clips if clips is None else clips
        columns = {"clip_id": clips, "split": list(splits), "clip_sha256": self.digests(content, len(clips))}
        index = parquet_bytes(pd.DataFrame(columns))
        (folder / "index.parquet").write_bytes(index)
        manifest = {"clips": len(clips), "tables": {"index.parquet": hashlib.sha256(index).hexdigest()}}
        (folder / "manifest.json").write_bytes(sealed_json(manifest))
        return DatasetIndex(folder)

    def store(
        self,
        source: str,
        *specs: ArraySpec,
        dataset: str = "toy",
        parameters: Mapping[str, Any] | str | None = None,
        clips: Sequence[ClipEntry] | None = None,
        written: Sequence[int] | None = None,
        seed: int = 0,
        version: int = 1,
        content: str = "",
        recorded: Mapping[str, Any] | None = None,
    ) -> FeatureStore:
        """Write a store; its values depend on source, seed, clip and array."""
        fingerprint = {
            "adapter": {"model": source, "version": version},
            "dataset": {"name": dataset, "parameters": parameters or {"size": 8}},
        }
        digests = self.digests(content)
        entries = clips or [ClipEntry(c, f"room{i // 2}", digests[i]) for i, c in enumerate(self.clips)]
        specs = specs or (spec_of(),)
        store = FeatureStore.create(
            store_path(self.root, dataset, source, fingerprint),
            source=source, dataset=dataset, fingerprint=fingerprint, recorded=recorded, clips=entries,
            arrays=specs,
        )  # fmt: skip
        number = sum(map(ord, source)) * 1000 + seed * 100
        write_clips(store, specs, lambda spec, clip: make_features(spec, number + clip), written)
        return store

    def pair(self) -> tuple[FeatureStore, FeatureStore]:
        """Two models on two grids: 6x8 averaged to 4x6 where they meet, and 4x6."""
        one = self.store("vgm", spec_of("dit", grid=(6, 8), channels=12))
        return one, self.store("vlm", spec_of("llm", block=22, grid=(4, 6), channels=8))


def refused(lab: Lab, kind: type[SpatialprobeError], name: str = "vgm+vlm", **choices: object) -> str:
    with pytest.raises(kind) as caught:
        view_by_name(lab.root, "toy", parse_name(name), choices=Choices(**choices))  # type: ignore[arg-type]
    assert caught.value.fix
    return str(caught.value)
