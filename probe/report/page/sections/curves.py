"""Curves: layers at relative depth, noise levels, probe capacity and data, errors by depth and frame distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from configs import commands
from probe.report.columns import BINS, EXAMPLE, TASK_TITLES
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.charts import Point, Series, line_panel
from probe.report.page.document import Block, Cell, Charts, Column, Legend, Missing, Row, Section, Table
from probe.report.page.labels import Sources
from probe.report.page.svg import swatch
from probe.report.page.values import anchor, counts, in_order, interval, metric, plain_number, shown, title
from probe.report.phrases import listed

Rows = list[dict[str, Any]]


def _label(row: dict[str, Any]) -> str:
    return str(row["label"])


def layers_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return scores at relative depth, one panel per metric, and the layer that was chosen."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("layers")):
        rows = [row for row in rows if row["relative_depth"] is not None]
        blocks += _panels(
            settings.title(setting),
            rows,
            sources,
            x="relative_depth",
            x_title="relative depth (1 = after the last block)",
            x_limits=(0.0, 1.0),
            note=lambda row: (
                f"block {row['block']}{_noise(row)}{', chosen on the select split' if row['chosen'] else ''}"
            ),
            of=_per_noise(rows),
        )
    if not blocks:
        blocks.append(_missing("no store with several layers has been probed", {"layers": "all"}))
    lead = (
        "Where in the network the information is. Layers are chosen on the select split and reported here on the "
        "report split; relative depth lets networks with different numbers of blocks share one axis."
    )
    return Section("layers", "Layer curves", blocks, lead, "Layers")


def noise_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return scores over the noise level of diffusion features."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("noise")):
        blocks += _panels(
            settings.title(setting),
            rows,
            sources,
            x="noise_level",
            x_title="noise level of the input",
            x_limits=(0.0, None),
            note=lambda row: f"block {row['block']}",
            of=lambda row: f"{row['label']}, block {row['block']}",
        )
    if not blocks:
        levels = {"noise": "t:100,t:250,t:500,t:750"}
        blocks.append(_missing("no diffusion model has been stored at two noise levels or more", levels))
    lead = "Diffusion features depend on how much noise the input carries; one level alone understates a model."
    return Section("noise", "Noise curves", blocks, lead, "Noise")


def capacity_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return scores under probes of other depth and with fewer training clips."""
    blocks: list[Block] = []
    names = {"depth": "trunk depth of the probe (\N{MINUS SIGN}1 = linear)", "fraction": "share of the training clips"}
    curves: dict[tuple[str, str], Rows] = {}  # the points of one lie in several settings
    for _, rows in settings.split(data.table("curves")):
        for row in rows:
            if row["chosen"]:
                curves.setdefault((str(row["axis"]), str(row["curve"])), []).append(row)
    for (axis, _), points in curves.items():
        held = f", equal {points[0]['held']}" if points[0]["held"] else ""
        blocks += _panels(
            f"{settings.title(points[0]['setting'])}, by {axis}{held}",
            sorted(points, key=lambda row: float(row["x"])),
            sources,
            x="x",
            x_title=names[axis],
            note=lambda row: str(row["x_label"]),
        )
    if not blocks:
        text = "All probes had one capacity and one amount of data. A capacity curve, and one over less data:"
        source = commands.Blank("<source>")
        lines = (
            commands.probe("curve", axis="capacity", task=EXAMPLE, model=source),
            commands.probe("curve", axis="data", task=EXAMPLE, model=source),
        )
        blocks.append(Missing(text, commands.portable("\n".join(lines))))
    lead = "A finding that holds only for one size of probe, or only with much data, is a finding about the probe."
    return Section("capacity", "Capacity and data", blocks, lead, "Capacity")


def errors_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return the metrics that tasks give in bins, such as errors by depth."""
    blocks: list[Block] = []
    for _, bins in BINS:
        for setting, rows in settings.split(data.table(bins.table)):
            labels = {row["bin"]: str(row["bin_label"]) for row in rows}
            for row in rows:
                row["metric"], row["x"] = bins.metric, row["bin"] + 1
            blocks += _panels(
                f"{settings.title(setting)}, by {bins.by}",
                rows,
                sources,
                x="x",
                x_title=bins.axis,
                note=lambda row, labels=labels: labels[row["bin"]],  # type: ignore[misc]
                y_low=0.0,
            )
    for task in dict.fromkeys(task for task, _ in BINS) if not blocks else ():
        text = f"No {task} probe with predictions has finished."
        command = commands.probe("train", task=task, model=commands.Blank("<source>"))
        blocks.append(Missing(text, commands.portable(command)))
    name = f"Error by {listed([bins.by for _, bins in BINS])}" if BINS else "Errors"
    means = dict.fromkeys(f"{bins.quantity.capitalize()}; {metric(bins.metric).better} is better." for _, bins in BINS)
    return Section("errors", name, blocks, " ".join(means), "Errors")


def _panels(
    name: str,
    rows: Rows,
    sources: Sources,
    *,
    x: str,
    x_title: str,
    note: Callable[[dict[str, Any]], str],
    of: Callable[[dict[str, Any]], str] = _label,
    x_limits: tuple[float | None, float | None] = (None, None),
    y_low: float | None = None,
) -> list[Block]:
    """One panel per metric with a line per group `of` rows; nothing if no row has a value."""
    rows = [row for row in rows if row["value"] is not None and row[x] is not None]
    if not rows:
        return []
    groups = list(dict.fromkeys(of(row) for row in rows))
    owner = {of(row): row for row in reversed(rows)}
    single = all(group == owner[group]["label"] for group in groups)
    styles = {group: sources.style(owner[group]) if single else i for i, group in enumerate(groups)}
    panels = []
    for key in in_order(rows):
        scale = metric(key).scale
        series = []
        for group in groups:
            points = [
                Point(
                    float(row[x]),
                    row["value"] * scale,
                    None if row["low"] is None else row["low"] * scale,
                    None if row["high"] is None else row["high"] * scale,
                    f"{row['label']}, {note(row)}: {shown(row['value'], key)} {interval(row['low'], row['high'], key)}",
                )
                for row in rows
                if of(row) == group and row["metric"] == key
            ]
            if points:
                series.append(Series(group, styles[group], points))
        panels.append(line_panel(title(key), x_title, title(key), series, x_limits=x_limits, y_limits=(y_low, None)))
    legend = [Legend(swatch(styles[group], group), group, sources.tags(owner[group])) for group in groups]
    return [Charts(name, panels, legend, numbers=_numbers(name, rows, sources, x, x_title, note))]


def _numbers(
    name: str, rows: Rows, sources: Sources, x: str, x_title: str, note: Callable[[dict[str, Any]], str]
) -> Table:
    columns = [
        Column("Model", number=False),
        Column("Metric", number=False),
        Column(x_title),
        Column("Where", number=False),
        Column("Value"),
    ]
    body = []
    for row in rows:
        key = str(row["metric"])
        detail = [interval(row["low"], row["high"], key), counts(row["n_clips"], row["n_seeds"])]
        link = anchor("cell", row["cell"]) if row["cell"] else ""
        cells = [
            sources.cell(row),
            Cell(title(key), key),
            Cell(plain_number(row[x]), row[x]),
            Cell(note(row), note(row)),
            Cell(shown(row["value"], key), row["value"], [text for text in detail if text], link=link),
        ]
        body.append(Row(cells, sources.kinds(row)))
    return Table(name, columns, body)


def _per_noise(rows: Sequence[dict[str, Any]]) -> Callable[[dict[str, Any]], str]:
    """One line per source, or per source and noise level where a source has several."""
    levels: dict[str, set[Any]] = {}
    for row in rows:
        levels.setdefault(_label(row), set()).add(row["noise_level"])
    if all(len(found) == 1 for found in levels.values()):
        return _label
    return lambda row: f"{_label(row)}{_noise(row)}"


def _noise(row: dict[str, Any]) -> str:
    return "" if row.get("noise_level") is None else f", noise {row['noise_level']:.3g}"


def _missing(why: str, extracted: Mapping[str, str]) -> Missing:
    task = next(reversed(TASK_TITLES), EXAMPLE)
    lines = (
        commands.extract("run", model=commands.Blank("<model>"), **extracted),
        commands.probe("train", task=task, model=commands.Blank("<source>"), layers="all"),
    )
    return Missing(f"Nothing to draw: {why}.", commands.portable("\n".join(lines)))
