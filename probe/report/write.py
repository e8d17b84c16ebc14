"""A report on disk: tables as Parquet, words and provenance as JSON, then the page."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from configs.console import Progress, get_logger
from configs.files import write_atomic
from configs.paths import artifact_root
from probe.report.config import ReportConfig
from probe.report.freshness import inputs_digest, is_fresh, note

if TYPE_CHECKING:
    from probe.report.contract import ReportData

FOLDER = "report"
log = get_logger("report")


def make_report(config: ReportConfig) -> Path:
    """Collect, write and draw a report, unless it is there and nothing that it is made from has changed.

    Args:
        config: what to report on, and where.

    Returns:
        `index.html` in the report's folder.
    """
    folder = Path(config.out).expanduser().absolute() if config.out else artifact_root(config.root) / FOLDER
    inputs = inputs_digest(config.root, command_of(config))
    if not config.force and is_fresh(folder, inputs):
        words = json.loads((folder / "words.json").read_text(encoding="utf-8"))["statements"]
        _tell((word["topic"], word["text"]) for word in words)
        log.info("unchanged: results, options and code are those that it was made from; force=true makes it again")
        return folder / "index.html"
    from probe.report.build import build
    from probe.report.page.compose import build as build_page

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
    _tell((statement.topic, statement.text) for statement in data.words)
    return folder / "index.html"


def _tell(statements: Iterable[tuple[str, str]]) -> None:
    """Say what is wrong or missing; the rest is on the page."""
    for topic, text in statements:
        if topic in ("warning", "gap"):
            log.info("%s: %s", topic, text)


def write_tables(data: ReportData, folder: Path) -> None:
    """Write `tables/*.parquet`, `words.json` and `provenance.json`; tables of an earlier report are replaced.

    Args:
        data: the report.
        folder: of the report.
    """
    from data.dataset.tables import parquet_bytes
    from probe.results.results import to_json

    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, table in data.tables.items():
        write_atomic(tables / f"{name}.parquet", parquet_bytes(table))
    write_atomic(folder / "words.json", to_json({"statements": [dataclasses.asdict(s) for s in data.words]}))
    write_atomic(folder / "provenance.json", to_json(data.provenance))


def command_of(config: ReportConfig) -> str:
    """Return the command that makes the same report again."""
    values = {key: value for key, value in dataclasses.asdict(config).items() if key != "force"}
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    words = [f"{key}={value}" for key, value in values.items() if value is not None and value != usual[key]]
    return " ".join(["python -m probe report", *map(shlex.quote, words)])
