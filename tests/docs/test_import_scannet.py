"""docs/import-scannet.md: its commands lead a real room from raw files to a report on all three tasks, as written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.docs.guides import blocks, page, run_all

PAGE = page("import-scannet.md")
SECTION = PAGE[PAGE.index("## One room, from raw files to the report") : PAGE.index("## Options")]
FUSED = "oracle-code-classes+oracle-depth-rays"


@pytest.mark.full
@pytest.mark.realdata
def test_the_guide_leads_to_a_report(tmp_path: Path, realdata: Path) -> None:
    home = tmp_path / "artifacts"
    run_all(blocks(SECTION), {"RAW": str(realdata / "icl_livingroom1"), "SPATIALPROBE_HOME": str(home)})
    results = pd.read_parquet(home / "results" / "results.parquet")
    trained = {(str(task), str(source)) for task, source in zip(results["task"], results["source"], strict=True)}
    assert {task for task, _ in trained} == {"tagging", "instance", "geometry"}
    assert {task for task, source in trained if source == FUSED} == {"tagging", "instance", "geometry"}
    assert len({source for _, source in trained}) == 5 and len(trained) == 15
    assert (home / "report" / "index.html").stat().st_size > 10_000
