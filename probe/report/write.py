"""A report on disk: tables as Parquet, words and provenance as JSON, then the page."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs.console import get_logger, progress
from configs.files import write_atomic
from configs.paths import artifact_root
from data.tables import parquet_bytes
from probe.report.build import build
from probe.report.config import ReportConfig
from probe.report.contract import ReportData
from probe.results import to_json

FOLDER = "report"


def make_report(config: ReportConfig) -> Path:
    """Collect, write and draw a report; return the page.

    Args:
        config: what to report on, and where.

    Returns:
        `index.html` in the report's folder.
    """
    folder = Path(config.out).expanduser().absolute() if config.out else artifact_root(config.root) / FOLDER
    with progress(3, "report", "steps") as bar:
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
        from probe.report.page import build as build_page

        build_page(data, folder)
        bar.advance()
    for statement in data.words:
        if statement.topic in ("warning", "gap"):
            get_logger("report").info("%s: %s", statement.topic, statement.text)
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


def command_of(config: ReportConfig) -> str:
    """Return the command that makes the same report again."""
    values = dataclasses.asdict(config)
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    words = [f"{key}={value}" for key, value in values.items() if value is not None and value != usual[key]]
    return " ".join(["python -m probe report", *words])
