"""What probes reach without the model, and paired differences between models."""

from __future__ import annotations

from typing import Any

from configs import commands
from probe.report.columns import EXAMPLE
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.charts import Bar, forest
from probe.report.page.document import Block, Cell, Charts, Column, Missing, Row, Section, Table
from probe.report.page.labels import Sources
from probe.report.page.values import (
    NONE,
    anchor,
    in_order,
    interval,
    meaning,
    metric,
    plain_number,
    shown,
    signed,
    title,
)
from probe.task import task_title

_IN_FOREST = 24
"""Pairs that a forest shows at most; the table has all."""


def controls_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return each model beside its controls, with paired differences."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("controls")):
        keys = in_order(rows)
        pairs: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
        for row in rows:
            pair = (str(row["label"]), str(row["control"]), str(row["control_label"]))
            pairs.setdefault(pair, {})[str(row["metric"])] = row
        body = []
        for (_, control, _), found in pairs.items():
            one = next(iter(found.values()))
            against = Cell(control, control, [str(one["control_label"])] if one["control_label"] != control else [])
            cells = [sources.cell(one), against]
            body.append(Row([*cells, *(_against(found.get(key)) for key in keys)], sources.kinds(one)))
        columns = [Column("Model", number=False), Column("Control", number=False)]
        columns += [Column(f"{title(key)}: model \N{MINUS SIGN} control", meaning(key)) for key in keys]
        note = (
            "Below each difference: its 95 % interval, not corrected for the number of comparisons, from which "
            "nothing is concluded. The tests are under Differences."
        )
        blocks.append(Table(settings.title(setting), columns, body, note))
    if not blocks:
        blocks.append(
            Missing(
                "No model has a control with a finished run in the same setting. Controls are cheap, for example:",
                commands.portable(
                    f"{commands.extract('run', model='position')} && "
                    f"{commands.probe('train', task=EXAMPLE, model='position')}"
                ),
            )
        )
    lead = (
        "A probe learns something from almost anything. These rows show what it reaches from coordinates alone, from "
        "pixels, from untrained weights or from the model's input, on the same clips. Only the gap is due to the model."
    )
    return Section("controls", "Controls", blocks, lead)


def _against(row: dict[str, Any] | None) -> Cell:
    if row is None or row["difference"] is None:
        return Cell(NONE, None)
    key = str(row["metric"])
    detail = [
        interval(row["low"], row["high"], key, sign=True),
        f"{shown(row['value'], key)} against {shown(row['control_value'], key)}",
    ]
    link = anchor("cell", row["cell"]) if row["cell"] else ""
    return Cell(signed(row["difference"], key), row["difference"], [d for d in detail if d], link=link)


def pairs_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return paired tests, by setting and family, as a forest and a table."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("pairs")):
        key = str(rows[0]["metric"])
        bars = [
            Bar(
                f"{row['a_label']} \N{MINUS SIGN} {row['b_label']}",
                row["difference"] * metric(key).scale,
                None if row["low"] is None else row["low"] * metric(key).scale,
                None if row["high"] is None else row["high"] * metric(key).scale,
                "better" in str(row["verdict"]),
                f"{row['a_label']} \N{MINUS SIGN} {row['b_label']}: {signed(row['difference'], key)} "
                f"{interval(row['low'], row['high'], key, sign=True)}, {row['verdict']}",
            )
            for row in rows
            if row["difference"] is not None
        ]
        table = _pairs_table(sources, settings.title(setting), rows)
        if bars:
            note = "Filled: distinguishable after correction, in a family that is concluded from."
            if len(bars) > _IN_FOREST:
                note += f" The {_IN_FOREST} largest differences of {len(bars)}; the table has all."
                bars = sorted(bars, key=lambda bar: -abs(bar.value))[:_IN_FOREST]
            x_title = f"difference in {title(key)}, 95 % interval over rooms"
            task = task_title(str(rows[0]["task"]))
            blocks.append(Charts(f"{task}: differences", [forest(task, x_title, bars)], note=note))
        blocks.append(table)
    if not blocks:
        blocks.append(
            Missing(
                "Paired tests need two sources with finished runs in the same setting; after that, also:",
                commands.portable(commands.probe("compare", commands.Blank("<run a>"), commands.Blank("<run b>"))),
            )
        )
    lead = (
        "Two models are compared by their difference on the same clips. Rooms and seeds are what varies; p values are "
        "corrected for the number of comparisons. Nothing is concluded from exploratory families, nor from whether two "
        "intervals overlap."
    )
    return Section("pairs", "Paired differences", blocks, lead, "Differences")


def _pairs_table(sources: Sources, name: str, rows: list[dict[str, Any]]) -> Table:
    key = str(rows[0]["metric"])
    columns = [
        Column("A \N{MINUS SIGN} B", number=False),
        Column("Family", "the question that the comparison belongs to; p values are corrected within it", number=False),
        Column(f"Δ {title(key)}", meaning(key)),
        Column("Effect", "advantage of A in standard deviations between rooms"),
        Column("Rooms A wins", "share of rooms in which A is better"),
        Column("p", "two-sided"),
        Column("p, corrected", "for the family"),
        Column("Rooms"),
        Column("Verdict", number=False),
    ]
    body = []
    for row in rows:
        a, b = ({"label": row[f"{side}_label"], "source": row[f"{side}_source"]} for side in "ab")
        tags = dict.fromkeys([*sources.tags(a), *sources.tags(b)])
        verdict = str(row["verdict"] or "no test")
        link = anchor("cell", row["cell"]) if row["cell"] else ""
        detail = [
            interval(row["low"], row["high"], key, sign=True),
            f"{shown(row['a_value'], key)} against {shown(row['b_value'], key)}",
        ]
        smallest = "" if row["p_smallest"] is None else f"smallest possible {plain_number(row['p_smallest'], 2)}"
        name_cell = Cell(f"{row['a_label']} \N{MINUS SIGN} {row['b_label']}", str(row["a_label"]), tags=tuple(tags))
        cells = [
            name_cell,
            Cell(str(row["family"]), str(row["family"])),
            Cell(signed(row["difference"], key), row["difference"], [text for text in detail if text], link=link),
            Cell(plain_number(row["effect"], 2), row["effect"]),
            Cell(NONE if row["rooms_better"] is None else f"{row['rooms_better']:.0%}", row["rooms_better"]),
            Cell(plain_number(row["p"], 2), row["p"], [smallest] if smallest else []),
            Cell(plain_number(row["p_corrected"], 2), row["p_corrected"]),
            Cell(NONE if row["n_rooms"] is None else str(int(row["n_rooms"])), row["n_rooms"]),
            Cell(verdict, verdict, note=str(row["test"] or "")),
        ]
        kinds = dict.fromkeys([*sources.kinds(a), *sources.kinds(b)])
        body.append(Row(cells, tuple(kind for kind in kinds if kind == "random")))
    return Table(name, columns, body, "A better: A leads after correction, whichever way the metric runs.")
