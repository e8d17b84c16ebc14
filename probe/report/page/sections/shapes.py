"""Semantics against geometry, a radar per model, and average precision per class."""

from __future__ import annotations

from typing import Any

from configs import commands
from probe.report.columns import COLUMNS, PANEL_TASKS, PANELS, SCATTER_COLUMNS
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.charts import Point, Series, radar, scatter_panel
from probe.report.page.document import Block, Cell, Charts, Column, Legend, Missing, Row, Section, Table
from probe.report.page.labels import Sources
from probe.report.page.svg import swatch
from probe.report.page.values import NONE, anchor, interval, metric, records, shown, signed_text, title
from probe.task import load_task, tasks

_ALL_TASKS = "One probe of each task on the same dataset is needed:"


def scatter_section(data: ReportData, sources: Sources) -> Section:
    """Return sources between semantics and geometry, ours per board and the published table."""
    groups: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for row in records(data.table("scatter")):
        groups.setdefault((str(row["origin"]), row["board"]), []).append(row)
    blocks: list[Block] = []
    for (origin, _), rows in groups.items():
        panels, seen = [], []
        kinds = sorted({str(row["kind"]) for row in rows})
        for x, y in PANELS:
            series = []
            for row in rows:
                if row[x] is None or row[y] is None:
                    continue
                style = sources.style(row) if origin == "ours" else kinds.index(str(row["kind"]))
                note = f"{row['label']}: {title(x)} {shown(row[x], x)}, {title(y)} {shown(row[y], y)}"
                series.append(
                    Series(
                        str(row["label"]), style, [Point(row[x] * metric(x).scale, row[y] * metric(y).scale, note=note)]
                    )
                )
                seen.append(row)
            if series:
                panels.append(scatter_panel(f"{title(y)} over {title(x)}", title(x), title(y), series))
        if not panels:
            continue
        if origin == "ours":
            blocks.append(Charts("Our runs", panels, sources.legend(seen), numbers=_scatter_numbers(sources, rows)))
        else:
            words = {"vgm": "video generation models", "vlm": "vision-language models"}
            legend = [Legend(swatch(i, kind), words.get(kind, kind)) for i, kind in enumerate(kinds)]
            blocks.append(
                Charts("Published figures, for orientation", panels, legend, numbers=_scatter_numbers(sources, rows))
            )
    if not any(isinstance(block, Charts) and block.title == "Our runs" for block in blocks):
        command = commands.probe("train", task=commands.Blank("$task"), model=commands.Blank("<source>"))
        blocks.insert(
            0,
            Missing(_ALL_TASKS, f"for task in {' '.join(PANEL_TASKS)}; do {commands.portable(command)}; done"),
        )
    lead = (
        "Do features that tell what things are also tell where they are? "
        "Towards the upper right is better for AUC@30 and T-mIoU, towards the lower right for AbsRel."
    )
    return Section("scatter", "Semantics against geometry", blocks, lead, "Scatter")


def _scatter_numbers(sources: Sources, rows: list[dict[str, Any]]) -> Table:
    keys = [column.metric for column in SCATTER_COLUMNS]
    body = [
        Row(
            [
                sources.cell(row),
                *(Cell(shown(row[key], key), row[key]) for key in keys),
            ],
            sources.kinds(row) if row["origin"] == "ours" else (),
        )
        for row in rows
    ]
    return Table("Semantics against geometry", [Column("Model", number=False), *(Column(title(k)) for k in keys)], body)


def radar_section(data: ReportData, sources: Sources) -> Section:
    """Return one radar per source, from the floor at the centre to the ceiling at the rim."""
    groups: dict[tuple[Any, str], list[dict[str, Any]]] = {}
    for row in records(data.table("radar")):
        groups.setdefault((row["board"], str(row["label"])), []).append(row)
    order = [c.metric for c in COLUMNS]
    axes = [c.header for c in COLUMNS]
    panels, body = [], []
    for (_, label), rows in groups.items():
        found = {str(row["metric"]): row for row in rows if row["normalised"] is not None}
        who = rows[0]
        if found:
            points = [
                Point(order.index(key), row["normalised"], note=f"{label}, {title(key)}: {row['normalised']:.2f}")
                for key, row in found.items()
            ]
            panels.append(radar(sources.marked(who), axes, [Series(label, sources.style(who), points)]))
        cells = [sources.cell(who)]
        for key in order:
            one = next((row for row in rows if row["metric"] == key), None)
            cells.append(_radar_cell(one))
        body.append(Row(cells, sources.kinds(who)))
    blocks: list[Block] = []
    if panels:
        table = Table(
            "Between floor and ceiling", [Column("Model", number=False), *(Column(name) for name in axes)], body
        )
        blocks.append(Charts("Per model", panels, numbers=table))
    else:
        text = "The scale needs a floor and a ceiling: finished runs of position and oracle in the same setting."
        command = commands.extract("run", model=commands.Blank("$model"))
        blocks.append(Missing(text, f"for model in position oracle; do {commands.portable(command)}; done"))
    lead = (
        "Each axis runs from what coordinates alone reach (centre, 0) to what features made from ground truth reach "
        "(rim, 1), turned so that outward is better. Values beyond either end are drawn at the end."
    )
    return Section("radar", "Profile of each model", blocks, lead, "Profiles")


def _radar_cell(row: dict[str, Any] | None) -> Cell:
    if row is None or row["normalised"] is None:
        return Cell(NONE, None, note=str(row["reason"] or "") if row else "")
    ends = "" if row["low"] is None or row["high"] is None else f"[{row['low']:.2f}, {row['high']:.2f}]"
    text = signed_text(f"{row['normalised']:.2f}")
    link = anchor("cell", row["cell"]) if row["cell"] else ""
    return Cell(text, row["normalised"], [ends.replace("-", "\N{MINUS SIGN}")] if ends else [], link=link)


def classes_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return average precision per class and source, shaded, beside chance."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("classes")):
        whos = {str(row["label"]): row for row in reversed(rows)}
        names = list(dict.fromkeys(str(row["label"]) for row in rows))
        by_class: dict[str, dict[str, dict[str, Any]]] = {}
        for row in rows:
            by_class.setdefault(str(row["class"]), {})[str(row["label"])] = row
        body = []
        for name, found in by_class.items():
            one = next(iter(found.values()))
            key = load_task(str(one["task"])).headline  # a class's value is in the unit of the mean over classes
            cells = [
                Cell(name, name),
                Cell(str(one["bucket"] or NONE), str(one["bucket"] or "")),
                Cell(NONE if one["positives"] is None else str(int(one["positives"])), one["positives"]),
                Cell(shown(one["chance"], key), one["chance"]),
            ]
            cells += [_class_cell(found.get(name), key) for name in names]
            body.append(Row(cells))
        columns = [
            Column("Class", number=False),
            Column("Bucket", "head, mid or tail by positive rate in training", number=False),
            Column("Clips with it", "of the report split"),
            Column("Chance", "share of positives, times 100"),
        ]
        columns += [Column(sources.marked(whos[name]), group="AP \N{MULTIPLICATION SIGN} 100") for name in names]
        blocks.append(
            Table(settings.title(setting), columns, body, f"Darker is higher. {NONE} no clip has the class, or all do.")
        )
    for task in [task.name for task in tasks() if task.classes] if not blocks else ():
        command = commands.probe("train", task=task, model=commands.Blank("<source>"))
        blocks.append(Missing(f"No {task} probe has finished.", commands.portable(command)))
    lead = "With few clips per class, a class is an anecdote; compare with chance before reading anything into it."
    return Section("classes", "Average precision per class", blocks, lead, "Classes")


def _class_cell(row: dict[str, Any] | None, key: str) -> Cell:
    if row is None or row["value"] is None:
        return Cell(NONE, None, note=str(row["reason"] or "") if row else "")
    note = interval(row["low"], row["high"], key)
    link = anchor("cell", row["cell"]) if row["cell"] else ""
    return Cell(shown(row["value"], key), row["value"], note=note, shade=min(max(row["value"], 0.0), 1.0), link=link)
