"""Costs of extraction and storage from the stores' own files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from probe.report.build import build
from tests.probe.report.rows import FLAT, HUB, main_rows


def test_costs_come_from_the_stores_own_files(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    log = study.root / "logs" / "extract" / "20260101-000000-qwen3-vl-2b-77"
    log.mkdir(parents=True)
    times = {f"{part}_seconds": [0.25, 0.5, 0.75] for part in ("read", "preprocess", "device", "write")}
    pd.DataFrame({"status": ["done"] * 3, **times}).to_parquet(log / "extract_log.parquet")
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
    times = {f"{part}_seconds": [0.25] for part in ("read", "preprocess", "device", "write")}
    pd.DataFrame({"status": ["done"], "parameters": [12345], **times}).to_parquet(log / "extract_log.parquet")
    row = build(str(study.root)).table("costs").iloc[0]
    assert (row.model_parameters, row.model_parameters_from) == (12345, "log")


def test_a_store_that_is_gone_leaves_nulls(study: Any) -> None:
    import shutil

    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    shutil.rmtree(study.root / "features")
    data = build(str(study.root))
    assert data.table("costs").bytes_per_clip.isna().all()
    assert main_rows(data, "difference").empty  # whose weights it were can't be checked any more
