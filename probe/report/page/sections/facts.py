"""What things cost, how selective probes are, which settings were compared, and where every number comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from configs import commands
from probe.report.columns import EXAMPLE
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.document import Block, Cell, Column, Item, Missing, Paragraph, Row, Section, Table
from probe.report.page.labels import Sources
from probe.report.page.values import NONE, amount, anchor, plain_number, records, shown, size, title
from probe.report.phrases import header
from probe.task import task_title, tasks


def costs_section(data: ReportData, sources: Sources) -> Section:
    """Return parameters, bytes and seconds of every array."""
    columns = [
        Column("Model", number=False),
        Column("Layer", number=False),
        Column("Parameters", "of the backbone"),
        Column("Bytes per clip", "values of this array, uncompressed"),
        Column("Store", "files of the whole store"),
        Column("Clips"),
        Column("Seconds per clip", "extraction: read, prepare, run and write"),
        Column("Probe", "parameters of the largest probe on it"),
        Column("Seconds per probe", "of its pass, divided by the probes in the pass"),
    ]
    body = []
    for row in records(data.table("costs")):
        device = [str(row["extract_device"])] if row["extract_device"] else []
        basis = {"name": ["from the name"], "log": ["as loaded"]}.get(str(row["model_parameters_from"]), [])
        cells = [
            sources.cell(row),
            Cell(str(row["array"]), str(row["array"])),
            Cell(amount(row["model_parameters"]), row["model_parameters"], basis),
            Cell(size(row["bytes_per_clip"]), row["bytes_per_clip"]),
            Cell(size(row["store_bytes"]), row["store_bytes"]),
            Cell(NONE if row["clips"] is None else str(int(row["clips"])), row["clips"]),
            Cell(plain_number(row["extract_seconds"]), row["extract_seconds"], device),
            Cell(amount(row["probe_parameters"]), row["probe_parameters"]),
            Cell(plain_number(row["probe_seconds"]), row["probe_seconds"]),
        ]
        body.append(Row(cells, sources.kinds(row)))
    blocks: list[Block] = [Table("Costs", columns, body)]
    if not body:
        blocks = [Missing("No store has been probed yet.", commands.portable(commands.extract("run", model="oracle")))]
    lead = "Seconds were measured on the machines that did the work; compare them only within one machine."
    return Section("costs", "Costs", blocks, lead)


_CODES = {
    "mdl.compression": "compression against class rates",
    "mdl.uniform_compression": "compression against a uniform code",
}


def selectivity_section(data: ReportData, sources: Sources, settings: Settings) -> Section:
    """Return how much better probes are on true labels than on random and on shuffled ones."""
    blocks: list[Block] = []
    for setting, rows in settings.split(data.table("selectivity")):
        body = []
        for row in rows:
            key = str(row["metric"])
            name = _CODES.get(key) or title(key)
            value = plain_number(row["value"]) if key.startswith("mdl") else shown(row["value"], key)
            link = anchor("cell", row["cell"]) if row["cell"] else ""
            cells = [sources.cell(row), Cell(str(row["array"]), str(row["array"])), Cell(name, name)]
            cells.append(Cell(_text(row["against"]), _text(row["against"])))
            notes = [f"not available: {row['reason']}"] if row["reason"] else []
            if row["low"] is not None:
                notes.append(f"{shown(row['low'], key)} to {shown(row['high'], key)}")
            cells += [Cell(value, row["value"], notes, link=link), Cell(plain_number(row["n_seeds"]), row["n_seeds"])]
            body.append(Row(cells, sources.kinds(row)))
        columns = [Column(name, number=False) for name in ("Model", "Layer", "Metric", "Against")]
        blocks.append(Table(settings.title(setting), [*columns, Column("Value"), Column("Seeds")], body))
    if not blocks:
        task = next((task.name for task in tasks() if task.has_code), EXAMPLE)
        text = "No probe has a control task or a shuffled twin. To train them with a probe, and to measure code length:"
        asked = {"selectivity": True, "control": True, "mdl": True}
        command = commands.probe("train", task=task, model=commands.Blank("<source>"), **asked)
        blocks.append(Missing(text, commands.portable(command)))
    lead = (
        "Positive: better than a probe of the same size on labels that say nothing. Against a control task, whose "
        "random labels are the same for all views of a room or object and can be remembered, the difference is the "
        "selectivity of Hewitt and Liang (2019); a shuffled twin learns the targets of other clips, which can't. "
        "Compression: how many times shorter the labels are for someone who has the features; 1 against class rates "
        "means that they add nothing."
    )
    return Section("selectivity", "Selectivity and code length", blocks, lead, "Selectivity")


def provenance_section(data: ReportData, sources: Sources, settings: Settings, linked: Iterable[str]) -> Section:
    """Return what every number comes from: settings, layers, runs, and a row per linked number.

    Args:
        data, sources, settings: the report.
        linked: ids of the places that other sections link to; only those numbers get a row here.
    """
    facts = [
        Item(f"{key.replace('_', ' ')}: {_text(value)}")
        for key, value in data.provenance.items()
        if value not in ("", None)
    ]
    blocks: list[Block] = [
        Paragraph(
            "Every number links to its row in the table of numbers below: where it lies in the Parquet tables of "
            "tables/, and the runs behind it, each with fingerprint, seed, versions and the command that repeats it. "
            "tables/ also holds what is not shown here, such as all metrics of all layers (scores.parquet).",
            facts,
        )
    ]
    runs = records(data.table("runs"))
    known = {str(row["run_id"]) for row in runs}
    blocks.append(_settings(data))
    blocks.append(_runs(sources, settings, runs))
    blocks.append(_numbers(data, set(linked), known))
    return Section("provenance", "Provenance", blocks)


def _settings(data: ReportData) -> Table:
    names = ("dataset", "profile", "plan", "variant", "split_scheme", "depth", "fraction")
    sizes = ("train_clips", "select_clips", "report_clips", "report_rooms", "runs", "sources")
    body = []
    for row in records(data.table("settings")):
        task = task_title(str(row["task"]))
        cells = [Cell(task, task, tags=() if row["main"] else ("not in the main table",))]
        cells += [Cell(_text(row[name]), _text(row[name])) for name in names]
        cells += [Cell(plain_number(row[name], 6), row[name]) for name in sizes]
        body.append(Row(cells))
    columns = [Column("Task", number=False), *(Column(name.replace("_", " "), number=False) for name in names)]
    return Table("Settings", [*columns, *(Column(n.replace("_", " ")) for n in sizes)], body)


def _runs(sources: Sources, settings: Settings, runs: Sequence[dict[str, Any]]) -> Table:
    body = []
    for row in runs:
        who = sources.of_run(row)
        task = task_title(str(row["task"]))
        cells = [
            Cell(str(row["run_id"]), str(row["run_id"])),
            sources.cell(who),
            Cell(task, task, [str(row["control"])] if row["control"] else []),
            Cell(str(row["array"]), str(row["array"]), [f"store {str(row['store'])[:12]}"], note=str(row["store"])),
            Cell(_text(row["dataset"]), _text(row["dataset"]), [f"made as {str(row['dataset_parameters'])[:12]}"]),
            Cell(plain_number(row["seed"], 9), row["seed"]),
            Cell(_text(row["config"]), _text(row["config"]), [f"profile {row['profile']}", f"queries {row['plan']}"]),
            Cell(_text(row["device"]), _text(row["device"]), [_text(row["versions"])]),
            Cell(_text(row["finished_at"]), _text(row["finished_at"])),
            Cell(_text(row["command"]), _text(row["command"]), [_text(row["extract_command"])]),
        ]
        body.append(Row(cells, sources.kinds(who), anchor("run", row["run_id"])))
    names = ("Run", "Model", "Task", "Layer", "Dataset")
    columns = [*(Column(name, number=False) for name in names), Column("Seed")]
    columns += [Column(name, number=False) for name in ("Configuration", "Device, versions", "Finished")]
    columns.append(Column("Commands", "that repeats the run, and that makes its features", number=False, wide=True))
    return Table("Runs", columns, body, folded=len(body) > 12)


def _numbers(data: ReportData, linked: set[str], known: set[str]) -> Table:
    body = []
    for row in records(data.table("cells")):
        place = anchor("cell", row["cell"])
        if place not in linked:
            continue
        runs = [run for run in str(row["runs"] or "").split(",") if run]
        links = [(anchor("run", run), run) for run in runs if run in known]
        rest = ", ".join(run for run in runs if run not in known)
        key = str(row["column"]).split(".")[0]
        value = plain_number(row["value"], 6)
        cells = [
            Cell(str(row["cell"]), str(row["cell"])),
            Cell(f"{row['table']}.parquet", str(row["table"])),
            Cell(plain_number(row["row"], 9), row["row"]),
            Cell(str(row["column"]), str(row["column"]), note=header(key)),
            Cell(value, row["value"]),
            Cell(rest, rest, links=links),
        ]
        body.append(Row(cells, id=place))
    columns = [Column("Number", number=False), Column("Table", number=False), Column("Row")]
    columns += [Column("Column", number=False), Column("Value"), Column("Runs", number=False)]
    return Table("Numbers", columns, body, "Values in stored units.", folded=True)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return NONE if value is None or value == "" else str(value)
