"""The first section: what can be concluded and what can't, in words, each with the numbers it rests on."""

from __future__ import annotations

from configs import commands
from probe.report.contract import ReportData, Statement
from probe.report.page.document import Block, Item, Missing, Paragraph, Section
from probe.report.page.values import anchor


def summary_section(data: ReportData) -> Section:
    """Return findings, explorations, limits and gaps, in that order."""
    blocks: list[Block] = []
    findings = data.said("finding")
    if findings:
        blocks.append(Paragraph("", _items(findings), "What can be concluded"))
    else:
        text = "Nothing can be concluded yet: no finished runs are comparable."
        blocks.append(Missing(text, commands.portable(commands.probe("runs"))))
    explored = data.said("exploratory")
    if explored:
        blocks.append(Paragraph("", _items(explored), "What was explored, without a conclusion"))
    limits = data.said("limit")
    if limits:
        blocks.append(Paragraph("", _items(limits), "What cannot be concluded"))
    gaps = data.said("gap")
    if gaps:
        blocks.append(Paragraph("", _items(gaps), "What is missing, and how to add it"))
    return Section("summary", "Summary", blocks)


def method_section(data: ReportData) -> Section:
    """Return how the numbers were made."""
    said = data.said("method")
    blocks: list[Block] = [Paragraph("", _items(said))] if said else []
    return Section("method", "How the numbers were made", blocks, short="Method")


def _items(statements: list[Statement]) -> list[Item]:
    return [Item(s.text, tuple(anchor("cell", cell) for cell in s.cells)) for s in statements]
