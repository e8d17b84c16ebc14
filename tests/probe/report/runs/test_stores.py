"""Costs of extraction and storage from the stores' own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.files import write_with_digest
from data.dataset.tables import parquet_bytes
from data.prepare.prepare import prepare
from probe.report.build import build
from probe.report.runs.stores import Extraction, StoreFacts, dataset_kind, last_extraction, store_facts
from tests.data.toy import Shape, ToySource
from tests.probe.report.rows import FLAT, HUB, main_rows

PARTS = ("read", "preprocess", "device", "write")


def test_costs_come_from_the_stores_own_files(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    log = study.root / "logs" / "extract" / "20260101-000000-qwen3-vl-2b-77"
    log.mkdir(parents=True)
    times = {f"{part}_seconds": [0.25, 0.5, 0.75] for part in PARTS}
    write_with_digest(log / "extract_log.parquet", parquet_bytes(pd.DataFrame({"status": ["done"] * 3, **times})))
    (log.parent / "20260102-000000-not-qwen3-vl-2b-78").mkdir()
    row = build(str(study.root)).table("costs").iloc[0]
    assert row.bytes_per_clip == 20 * 2 * 2 * 4 * 2
    assert row.extract_seconds == 2.0
    assert row.probe_seconds == 3.0  # 6 s of a pass of two
    assert (row.model_parameters, row.model_parameters_from) == (2e9, "name")
    assert row.store_bytes > 0


def test_parameters_of_untrained_twins_come_from_the_extraction(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b-tiny-random", {"t_miou": FLAT})
    log = study.root / "logs" / "extract" / "20260101-000000-qwen3-vl-2b-tiny-random-77"
    log.mkdir(parents=True)
    times = {f"{part}_seconds": [0.25] for part in PARTS}
    table = pd.DataFrame({"status": ["done"], "parameters": [12345], **times})
    write_with_digest(log / "extract_log.parquet", parquet_bytes(table))
    row = build(str(study.root)).table("costs").iloc[0]
    assert (row.model_parameters, row.model_parameters_from) == (12345, "log")


def test_a_store_that_is_gone_leaves_nulls(study: Any) -> None:
    import shutil

    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    shutil.rmtree(study.root / "features")
    data = build(str(study.root))
    assert data.table("costs").bytes_per_clip.isna().all()
    assert main_rows(data, "difference").empty  # whose weights it were can't be checked any more


@pytest.mark.parametrize("ending", ["extract_log.parquet", "extract_log.parquet.sha256"])
def test_no_time_is_taken_from_a_changed_log(study: Any, caplog: pytest.LogCaptureFixture, ending: str) -> None:
    folder = study.root / "logs" / "extract" / "20260101-000000-oracle-1"
    table = pd.DataFrame({"status": ["done"], **{f"{part}_seconds": [0.25] for part in PARTS}})
    write_with_digest(folder / "extract_log.parquet", parquet_bytes(table))
    assert last_extraction(str(study.root), "oracle").seconds == 1.0
    path = folder / ending
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        caplog.clear()
        assert last_extraction(str(study.root), "oracle") == Extraction()
        assert str(folder / "extract_log.parquet") in caplog.text
    path.unlink()
    assert last_extraction(str(study.root), "oracle") == Extraction()


def test_nothing_is_taken_from_a_changed_store_json(study: Any, caplog: pytest.LogCaptureFixture) -> None:
    study.per_clip("instance", "oracle", {"t_miou": FLAT}, store=HUB)
    (path,) = study.root.glob("features/*/*/*/store.json")
    where = (str(study.root), path.parts[-4], path.parts[-3], path.parts[-2])
    assert store_facts(*where).arrays
    path.write_bytes(path.read_bytes().replace(b'"channels": 4', b'"channels": 5'))
    assert store_facts(*where) == StoreFacts(path.parts[-2])
    assert str(path) in caplog.text


def test_no_kind_is_taken_from_a_changed_dataset_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = tmp_path / "datasets" / "toy"
    prepare(ToySource({"one": Shape(query_only=True)}), dataset, workers=1)
    assert dataset_kind(str(tmp_path), "toy") == "toy"
    path = dataset / "dataset.json"
    path.write_bytes(path.read_bytes().replace(b'"kind": "toy"', b'"kind": "tox"'))
    assert dataset_kind(str(tmp_path), "toy") == ""
    assert str(path) in caplog.text
