"""A report is made again exactly when something that it is made from, or it itself, has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probe.report import freshness
from probe.report.config import ReportConfig
from probe.report.write import make_report


@pytest.fixture
def study(study_class: Any, tmp_path: Path) -> Any:
    study = study_class(tmp_path / "home")
    for source in ("position", "oracle"):
        study.per_clip("instance", source, {"t_miou": [0.5] * 6, "t_sr": [0.25] * 6})
    (study.root / "datasets" / "toy" / "clips" / "clip0").mkdir(parents=True)
    (study.root / "datasets" / "toy" / "dataset.json").write_text('{"kind": "rooms"}')
    (study.root / "logs" / "extract").mkdir(parents=True)
    make_report(ReportConfig(root=str(study.root)))
    return study


def made_again(study: Any, **options: Any) -> bool:
    """Whether the command writes the page anew."""
    page = study.root / "report" / "index.html"
    os.utime(page.parent / "made_from.json", ns=(0, 0))
    make_report(ReportConfig(root=str(study.root), **options))
    return bool((page.parent / "made_from.json").stat().st_mtime_ns != 0)


def test_nothing_has_changed(study: Any) -> None:
    make_report(ReportConfig(root=str(study.root)))  # the first one also wrote results.parquet
    assert not made_again(study)
    assert not made_again(study)
    (study.root / "datasets" / "toy" / "status.parquet").write_bytes(b"written by every `data prepare`")
    assert not made_again(study)


def a_new_run(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6, "t_sr": [0.1] * 6})


def a_run_gone(study: Any) -> None:
    sorted((study.root / "results").glob("*.json"))[0].unlink()


def a_result_edited(study: Any) -> None:
    path = sorted((study.root / "results").glob("*.json"))[0]
    path.write_text(path.read_text().replace('"seconds": 6.0', '"seconds": 7.0'))


def clips_of_a_run_gone(study: Any) -> None:
    sorted((study.root / "runs").glob("*/clips.parquet"))[0].unlink()


def results_parquet_gone(study: Any) -> None:
    (study.root / "results" / "results.parquet").unlink()


def a_store_gone(study: Any) -> None:
    sorted((study.root / "features").glob("*/*/*/store.json"))[0].unlink()


def a_clip_gone(study: Any) -> None:
    (study.root / "datasets" / "toy" / "clips" / "clip0").rmdir()


def the_page_gone(study: Any) -> None:
    (study.root / "report" / "index.html").unlink()


def a_table_edited(study: Any) -> None:
    (study.root / "report" / "tables" / "main.parquet").write_bytes(b"")


def its_record_damaged(study: Any) -> None:
    (study.root / "report" / "made_from.json").write_text("{")


CHANGES = [
    a_new_run, a_run_gone, a_result_edited, clips_of_a_run_gone, results_parquet_gone, a_store_gone, a_clip_gone,
    the_page_gone, a_table_edited, its_record_damaged,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed(study: Any, change: Callable[[Any], None]) -> None:
    make_report(ReportConfig(root=str(study.root)))
    change(study)
    assert made_again(study)
    assert (study.root / "report" / "index.html").is_file() and (study.root / "results" / "results.parquet").is_file()


def test_other_options_and_other_code_are_noticed(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_report(ReportConfig(root=str(study.root)))
    assert made_again(study, resamples=50)
    assert not made_again(study, resamples=50)
    assert made_again(study, resamples=50, force=True)
    monkeypatch.setattr(freshness, "code_digest", lambda: "another")
    assert made_again(study, resamples=50)
