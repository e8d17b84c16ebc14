"""The command `spatialprobe probe report`."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_the_command_writes_tables_words_and_page(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from configs.cli import main
    from probe.__main__ import VERBS

    study.per_clip("instance", "pixels", {"t_miou": [0.1, 0.2, 0.3] * 2})
    assert main("probe", "about", VERBS, ["report", f"root={study.root}", "resamples=50"]) == 0
    page = study.root / "report" / "index.html"
    assert capsys.readouterr().out.strip() == str(page)
    assert "Pixel statistics" in page.read_text(encoding="utf-8")
    assert study.read(page.parent, "scores").set_index("metric").value["t_miou"] == pytest.approx(0.2)
    provenance = json.loads((page.parent / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["command"] == f"spatialprobe probe report resamples=50 root={study.root}"
    assert provenance["runs"] == 1
    assert json.loads((page.parent / "words.json").read_text(encoding="utf-8"))["statements"]
