"""A report on disk: tables as Parquet, words and provenance as JSON, then the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs.console import Progress
from configs.files import write_atomic
from data.dataset.tables import parquet_bytes
from probe.report.build import build
from probe.report.config import ReportConfig, command_of, folder_of
from probe.report.contract import ReportData
from probe.report.freshness import fresh_page, inputs_of, note, tell
from probe.report.page.compose import build as build_page
from probe.results.results import to_json


def make_report(config: ReportConfig) -> Path:
    """Collect, write and draw a report, unless it is there and nothing that it is made from has changed.

    Args:
        config: what to report on, and where.

    Returns:
        `index.html` in the report's folder.
    """
    inputs = inputs_of(config)
    return fresh_page(config, inputs) or write_report(config, inputs)


def write_report(config: ReportConfig, inputs: str) -> Path:
    """Collect, write and draw a report, and note what it is made from, the digest `inputs_of`."""
    folder = folder_of(config)
    with Progress(3, "report", "steps") as bar:
        data = build(
            config.root,
            dataset=config.dataset,
            profile=config.profile,
            resamples=config.resamples,
            command=command_of(config),
        )
        bar.advance()
        write_tables(data, folder)
        bar.advance()
        build_page(data, folder)
        bar.advance()
    note(folder, inputs)
    tell((statement.topic, statement.text) for statement in data.words)
    return folder / "index.html"


def write_tables(data: ReportData, folder: Path) -> None:
    """Write `tables/*.parquet`, `words.json` and `provenance.json`; tables of an earlier report are replaced.

    Args:
        data: the report.
        folder: of the report.
    """
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in data.tables.items():
        write_atomic(tables / f"{name}.parquet", parquet_bytes(table))
    write_atomic(folder / "words.json", to_json({"statements": [dataclasses.asdict(s) for s in data.words]}))
    write_atomic(folder / "provenance.json", to_json(data.provenance))
