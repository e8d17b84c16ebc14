from __future__ import annotations

from pathlib import Path

from probe.report.contract import ReportData
from probe.report.page import build


def test_smoke(report: ReportData, tmp_path: Path) -> None:
    path = build(report, tmp_path)
    print(path, path.stat().st_size)
