"""The published table's layout with our numbers, intervals, and the published figures with the difference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from configs import commands
from probe.report.columns import COLUMNS, EXAMPLE, TASK_TITLES, task_columns
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.document import Block, Cell, Column, Missing, Row, Section, Table
from probe.report.page.labels import RANDOM, Sources
from probe.report.page.values import NONE, anchor, counts, interval, meaning, records, shown, signed, title
from probe.report.phrases import listed

_KINDS = {
    "Video generation models": "VGM",
    "Vision-language models": "VLM",
    "Encoders": "encoder",
    "Fusions": "fusion",
    "Controls": "control",
}

_EMPTY = Missing(
    "No finished run fits a main table. Train one probe per task:",
    commands.portable(commands.probe("train", task=EXAMPLE, model=commands.Blank("<source>"), profile="smoke")),
)


def main_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return the main table of every board, tables of other tasks, and the published figures of all models."""
    rows = records(data.table("main"))
    boards: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        boards.setdefault(row["board"], []).append(row)
    blocks: list[Block] = [_board(data, sources, board, found) for board, found in boards.items()]
    blocks += _others(data, sources, settings)
    if not blocks:
        blocks.append(_EMPTY)
    published = [_published(row) for row in records(data.table("published"))]
    scaled = list(dict.fromkeys(column.task for column in COLUMNS if column.scale != 1))
    note = "Table 1 of the paper, where no intervals are given."
    blocks.append(Table("The published table", _columns(), published, note, folded=True))
    lead = (
        f"Columns, units and arrows as in the published table: {listed(scaled)} metrics times 100. Below each "
        "number are its 95 % interval over rooms, the numbers of clips and seeds, and the published figure with "
        "our difference (\N{GREEK CAPITAL LETTER DELTA}) if the paper has the model. A published "
        "figure next to another dataset, probe or query plan is for orientation, not a comparison."
    )
    return Section("main", "Main table", blocks, lead)


def _columns() -> list[Column]:
    metrics = [Column(title(c.metric), meaning(c.metric), group=TASK_TITLES[c.task]) for c in COLUMNS]
    return [
        Column("Model", number=False),
        Column("Kind", "video generation model, vision-language model, encoder, control or fusion", number=False),
        *metrics,
    ]


def _board(data: ReportData, sources: Sources, board: Any, rows: Sequence[dict[str, Any]]) -> Table:
    ours = [row for row in rows if row["origin"] == "ours"]
    printed = ("published", "difference")
    others = {(row["origin"], row["source"], row["store"]): row for row in rows if row["origin"] in printed}
    settings = [row for row in records(data.table("settings")) if row["board"] == board and row["main"]]
    settings = [row for row in settings if row["task"] in TASK_TITLES]
    body = []
    for row in ours:
        model = row["role"] in ("model", "untrained twin")  # its vision tower, say, is in no published row
        published, difference = (others.get((o, row["source"], row["store"])) if model else None for o in printed)
        detail = [text.strip() for text in str(row["layers"] or "").split(";") if text.strip()]
        detail += [f"unlike the paper: {difference['note']}"] if difference is not None and difference["note"] else []
        cells = [sources.cell(row, detail), _kind(row)]
        cells += [_cell(row, published, difference, c.metric) for c in COLUMNS]
        body.append(Row(cells, sources.kinds(row)))
    averages = [_average(row) for row in rows if row["origin"] in ("average", "published average")]
    return Table(_name(settings, board), _columns(), body, _about(settings), averages)


def _others(data: ReportData, sources: Sources, settings: Settings) -> list[Block]:
    """Return a table of each main setting of a task that the published table does not have, at the chosen layers."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("scores")):
        task = str(settings.row(setting).get("task"))
        if task in TASK_TITLES or not settings.row(setting).get("main"):
            continue
        keys = [column.metric for column in task_columns(task)]
        entries: dict[Any, dict[str, dict[str, Any]]] = {}
        for row in rows:
            if row["chosen"] and row["metric"] in keys:
                entries.setdefault(row["entry"], {})[str(row["metric"])] = row
        body = []
        for found in entries.values():
            one = next(iter(found.values()))
            cells = [sources.cell(one, [str(one["array"])]), *(_score(found.get(key)) for key in keys)]
            body.append(Row(cells, sources.kinds(one)))
        columns = [Column("Model", number=False), *(Column(title(key), meaning(key)) for key in keys)]
        blocks.append(Table(settings.title(setting), columns, body, _about([settings.row(setting)])))
    return blocks


def _score(row: dict[str, Any] | None) -> Cell:
    if row is None or row["value"] is None:
        return Cell(NONE, None, note=str(row["reason"] or "") if row else "not measured")
    key = str(row["metric"])
    detail = [interval(row["low"], row["high"], key), counts(row["n_clips"], row["n_seeds"])]
    link = anchor("cell", row["cell"])
    return Cell(shown(row["value"], key), row["value"], [text for text in detail if text], link=link)


def _average(row: dict[str, Any]) -> Row:
    random = bool(row["untrained"])
    name = Cell(str(row["label"]), tags=(RANDOM,) if random else ())
    cells = [name, _kind(row), *(_cell(row, None, None, c.metric) for c in COLUMNS)]
    return Row(cells, ("summary", "random") if random else ("summary",))


def _kind(row: dict[str, Any]) -> Cell:
    section = str(row["section"] or "")
    return Cell(_KINDS.get(section, section), section, note=section)


def _name(settings: Sequence[dict[str, Any]], board: Any) -> str:
    if not settings:
        return f"Board {board}"
    datasets = " and ".join(dict.fromkeys(str(row["dataset"]) for row in settings))
    profiles = " and ".join(dict.fromkeys(str(row["profile"]) for row in settings))
    return f"Dataset {datasets}, probes of profile {profiles}"


def _about(settings: Sequence[dict[str, Any]]) -> str:
    parts = []
    for (plan, variant, scheme), same in groupby(settings, lambda r: (r["plan"], r["variant"], r["split_scheme"])):
        tasks = ", ".join(str(row["task"]) for row in same)
        parts.append(f"{tasks}: queries {plan}, {variant} metrics, {scheme} split")
    sizes = {f"{row['report_clips']} report clips of {row['report_rooms']} rooms" for row in settings}
    return "; ".join([*parts, *sorted(sizes)]) + "." if parts else ""


def _cell(row: dict[str, Any], published: Any, difference: Any, key: str) -> Cell:
    value = row[key]
    if value is None and (published is None or published[key] is None):
        return Cell(NONE, None, note="not measured")
    detail = [
        interval(row[f"{key}.low"], row[f"{key}.high"], key),
        counts(row[f"{key}.n_clips"], row[f"{key}.n_seeds"]),
    ]
    if published is not None and published[key] is not None:
        change = None if difference is None else difference[key]
        detail.append(f"paper {shown(published[key], key)}")
        detail += [f"\N{GREEK CAPITAL LETTER DELTA} {signed(change, key)}"] if change is not None else []
    cell = row[f"{key}.cell"]
    return Cell(shown(value, key), value, [text for text in detail if text], link=anchor("cell", cell) if cell else "")


def _published(row: dict[str, Any]) -> Row:
    cells = [Cell(str(row["name"]), str(row["name"])), Cell(str(row["kind"]).upper(), str(row["kind"]))]
    return Row([*cells, *(Cell(shown(row[c.metric], c.metric), row[c.metric]) for c in COLUMNS)])
