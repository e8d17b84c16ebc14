"""The command line, copies, differences, and the documentation's own examples."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureStore
from cache.__main__ import VERBS
from cache.care import describe
from cache.care.compare import compare
from cache.care.copy import copy_store, remove_store
from cache.care.verify import verify
from cache.source import ReadItem
from configs.cli import main
from configs.errors import CorruptionError, StoreError
from tests.stores import FINGERPRINT, make_features, make_spec, make_store

RAW = make_spec("raw", rows=6, channels=24)
DOCS = Path(__file__).parents[3] / "docs" / "feature-store.md"


def run(*words: object) -> int:
    return main("cache", "Feature stores.", VERBS, [str(word) for word in words])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "artifacts"
    make_store(place / "features/rooms/toy/aaaaaaaaaaaa", [RAW, make_spec("two")], 3, written=[0, 2])
    return place


def place_of(root: Path) -> Path:
    return root / "features/rooms/toy/aaaaaaaaaaaa"


def test_histograms_look_at_clips_of_the_whole_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "store", [RAW], 7)
    seen: list[str] = []
    read = store.read

    def noted(items: Sequence[ReadItem], **options: Any) -> Any:
        seen.append(items[0][0])
        return read(items, **options)

    monkeypatch.setattr(store, "read", noted)
    monkeypatch.setattr(describe, "MAX_ROWS", 24)  # 42 rows are no multiple of it
    describe.histogram(store, "raw", np.array([-np.inf, 0, np.inf]))
    assert len(seen) == 24 and set(seen) == set(store.clips)


def test_repair_says_what_it_leaves_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place_of(root) / "commits/notes.txt").write_text("mine")
    assert run("verify", f"root={root}") == 1
    assert run("repair", f"root={root}") == 0
    assert "commits/notes.txt: left alone" in capsys.readouterr().out


def test_moving_onto_a_link_to_itself_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert run("copy", f"root={root}", f"to={tmp_path / 'link'}", "move=true") == 1
    assert "onto itself" in capsys.readouterr().err
    assert verify(FeatureStore.open(place_of(root)).backend) == []
    assert len(FeatureStore.open(place_of(root)).committed("raw")) == 2


def test_moving_keeps_what_was_committed_meanwhile(root: Path, tmp_path: Path) -> None:
    source = FeatureStore.open(place_of(root))
    copy = copy_store(source, tmp_path / "copy")
    late = FeatureStore.open(place_of(root))  # another process, after its clip was copied
    with late.writer("scene0001") as writer:
        writer.put("raw", make_features(RAW, 1))
    with pytest.raises(StoreError, match="scene0001, array raw"):
        remove_store(source, copy)
    assert len(FeatureStore.open(place_of(root)).committed("raw")) == 3


def test_ls_and_inspect_work_on_unfinished_stores(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FeatureStore.open(place_of(root)).quarantine("scene0001", "decode error")
    assert run("ls", f"root={root}") == 0
    out = capsys.readouterr().out
    assert "67%" in out and "1 quarantined" in out and "aaaaaaaaaaaa" in out and "untrained" not in out
    assert run("inspect", f"root={root}", "histogram=raw") == 0
    out = capsys.readouterr().out
    assert "2/3" in out and "quarantined: scene0001: decode error" in out and "###" in out
    assert f"{2 * 6 * 3 * 5 * 24} values" in out
    (place_of(root) / "store.json").write_text("{")
    assert run("ls", f"root={root}") == 1
    assert "broken" in capsys.readouterr().out


def test_ls_marks_untrained_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(
        tmp_path / "features/rooms/toy-random/aaaaaaaaaaaa", [dataclasses.replace(RAW, extra={"untrained": True})]
    )
    assert run("ls", f"root={tmp_path}") == 0
    assert "untrained" in capsys.readouterr().out


def test_verify_repair_seal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("seal", f"root={root}") == 0
    assert run("verify", f"root={root}") == 0
    shard = place_of(root) / "features.zarr/raw/c.2.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 8
    shard.write_bytes(data)
    assert run("verify", f"root={root}") == 1
    assert "c.2.0.0.0.0: row 1 has changed since it was written" in capsys.readouterr().out
    assert run("repair", f"root={root}") == 0
    assert "clip scene0002: raw removed" in capsys.readouterr().out
    assert run("verify", f"root={root}") == 0
    store = FeatureStore.open(place_of(root))
    assert store.committed("raw") == ["scene0000"] and store.committed("two") == ["scene0000", "scene0002"]
    (place_of(root) / "store.json").unlink()
    assert run("repair", f"store={place_of(root)}") == 0
    assert "restored from its spare copy" in capsys.readouterr().out
    assert run("repair", f"root={root}") == 0
    assert "nothing to repair" in capsys.readouterr().out


@pytest.mark.parametrize("compression", ["none", "zstd", "blosc-lz4"])
def test_copies_have_the_same_values(root: Path, tmp_path: Path, compression: str) -> None:
    source = FeatureStore.open(place_of(root))
    assert run("copy", f"root={root}", f"to={tmp_path / 'other'}", f"compression={compression}") == 0
    copy = FeatureStore.open(place_of(tmp_path / "other"))
    assert compare(source, copy) == []
    assert copy.array("raw").compression == compression
    for clip in (0, 2):
        found = copy.read([(copy.clips[clip], "raw", range(6))])[0]
        assert torch.equal(found, make_features(RAW, clip).bfloat16())
    assert source.statistics("raw", ["scene0002"])[1].tolist() == copy.statistics("raw", ["scene0002"])[1].tolist()
    assert run("copy", f"root={root}", f"to={tmp_path / 'other'}", f"compression={compression}") == 0  # again: no work


def test_a_damaged_source_is_not_copied(root: Path, tmp_path: Path) -> None:
    shard = place_of(root) / "features.zarr/raw/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptionError, match="row 0 of clip scene0000"):
        copy_store(FeatureStore.open(place_of(root)), tmp_path / "copy")
    with pytest.raises(StoreError, match="onto itself"):
        copy_store(FeatureStore.open(place_of(root)), place_of(root))


def test_move_removes_the_source_last(root: Path, tmp_path: Path) -> None:
    before = FeatureStore.open(place_of(root)).index.shards("raw")
    assert run("copy", f"root={root}", f"to={tmp_path / 'other'}", "move=true") == 0
    assert not place_of(root).exists()
    moved = FeatureStore.open(place_of(tmp_path / "other"))
    assert moved.index.shards("raw") == before and verify(moved.backend) == []


def test_diff(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_store(tmp_path / "other", [RAW], 2, fingerprint={**FINGERPRINT, "prompt": "a room"})
    assert run("diff", f"root={root}", f"other={other.where}") == 1
    out = capsys.readouterr().out
    assert "prompt: '' -> 'a room'" in out
    assert "array two: only in the first" in out
    assert "clip scene0002: only in the first" in out
    assert "clip scene0001, array raw: only committed in the second" in out
    assert run("diff", f"root={root}", "other=aaaa") == 0
    assert "no difference" in capsys.readouterr().out


def test_prune_asks_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = place_of(root) / "features.zarr/raw/c.1.0.0.0.0"
    left.write_bytes(b"never committed")
    assert run("prune", f"root={root}", "arrays=two") == 0
    out = capsys.readouterr().out
    assert "c.1.0.0.0.0" in out and "apply=true" in out and left.exists()
    assert run("prune", f"root={root}", "arrays=two", "apply=true") == 0
    store = FeatureStore.open(place_of(root))
    assert not left.exists() and list(store.arrays) == ["raw"] and not (left.parents[1] / "two").exists()
    assert store.committed("raw") == ["scene0000", "scene0002"] and verify(store.backend) == []
    assert store.statistics("raw", ["scene0002"])[0] == 6 * 15


def test_help_is_light() -> None:
    code = (
        "import sys; from cache.__main__ import main, VERBS; import cache; main('cache', '', VERBS, ['ls', '--help']);"
        "heavy = {'torch', 'zarr', 'pyarrow', 'pandas', 'dask', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_ls_needs_no_torch(root: Path) -> None:
    code = (
        "import sys; from cache.__main__ import main, VERBS;"
        f"main('cache', '', VERBS, ['ls', 'root={root}']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_documented_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), namespace)
