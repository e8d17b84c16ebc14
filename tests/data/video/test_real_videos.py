"""Two real videos become a dataset that verifies and that a backbone of real classes reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cache.store import FeatureStore
from configs.cli import main
from data.__main__ import VERBS
from data.dataset.reader import PreparedDataset
from data.raw.video import index_video
from extract.__main__ import VERBS as EXTRACT


@pytest.mark.realdata
def test_real_videos(realdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, root = realdata / "video_clips", f"root={tmp_path}"
    for name, frames, rate in (("bedroom.mp4", 200, 30), ("03_blocks.mp4", 292, 30000 / 1001)):
        index = index_video(folder / name)
        assert (len(index.stamps), index.cut_off, index.warnings) == (frames, "", ())
        np.testing.assert_allclose(index.seconds, np.arange(frames) / rate, atol=1e-3)
    words = ["prepare", "kind=video", f"raw={folder}", root, "dataset=real", "max_side=320", "workers=1"]
    assert main("data", "about", VERBS, [*words, "clips=1"]) == 0
    dataset = PreparedDataset.open("real", tmp_path)
    assert dataset.clips["clip_id"].tolist() == ["03_blocks-000", "bedroom-000"]
    assert dataset.frame_size("bedroom-000") == (180, 320) and len(dataset.positions("bedroom-000")) == 81
    pictures = dataset.frames("bedroom-000", [0, 40, 80]).astype(int)
    assert pictures.std() > 20 and np.abs(pictures[0] - pictures[2]).mean() > 5  # real content that moves
    assert main("data", "about", VERBS, ["verify", "dataset=real", root, "workers=1"]) == 0
    model = ["run", "model=qwen3-vl", "weights=random", "size=tiny", "dataset=real", root, "device=cpu", "workers=1"]
    assert main("extract", "about", EXTRACT, model) == 0
    (path,) = (tmp_path / "features" / "real").glob("*/*")
    store = FeatureStore.open(path)
    assert store.arrays
    for name in store.arrays:
        assert sorted(store.committed(name)) == ["03_blocks-000", "bedroom-000"]
