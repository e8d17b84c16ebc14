"""The report as files: `index.html`, self-contained, and `report.md` with the same content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from configs.files import write_atomic
from probe.report.contract import ReportData
from probe.report.page.by_setting import Settings
from probe.report.page.document import Document, Paragraph, Section, tables
from probe.report.page.labels import Sources
from probe.report.page.render import to_html, to_markdown
from probe.report.page.sections.comparisons import controls_section, pairs_section
from probe.report.page.sections.curves import capacity_section, errors_section, layers_section, noise_section
from probe.report.page.sections.facts import costs_section, provenance_section, selectivity_section
from probe.report.page.sections.main_table import main_section
from probe.report.page.sections.shapes import classes_section, radar_section, scatter_section
from probe.report.page.sections.summary import method_section, summary_section
from probe.report.pictures.section import pictures_section

HTML, MARKDOWN = "index.html", "report.md"
_SUBTITLE = (
    "What frozen video-generation and vision-language backbones know about space: small probes on stored features, "
    "for semantics, object instances and 3D geometry."
)


def build(data: ReportData, folder: Path) -> Path:
    """Write the page and its Markdown twin, each whole or not at all.

    Args:
        data: the numbers and words.
        folder: where; it is made.

    Returns:
        Path of `index.html`.
    """
    document = compose(data)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / MARKDOWN, to_markdown(document).encode())
    write_atomic(folder / HTML, to_html(document).encode())
    return folder / HTML


def compose(data: ReportData) -> Document:
    """Return the report's content."""
    sources, settings = Sources(data), Settings(data)
    sections = [
        summary_section(data),
        main_section(data, sources, settings),
        controls_section(data, sources, settings),
        pairs_section(data, sources, settings),
        layers_section(data, sources, settings),
        noise_section(data, sources, settings),
        capacity_section(data, sources, settings),
        scatter_section(data, sources),
        radar_section(data, sources),
        classes_section(data, sources, settings),
        errors_section(data, sources, settings),
        selectivity_section(data, sources, settings),
        costs_section(data, sources),
        pictures_section(data, sources),
        method_section(data),
    ]
    linked = set(_links(sections))
    last = provenance_section(data, sources, settings, linked)
    shown = [section for section in (*sections, last) if section.blocks]
    facts = data.provenance
    made = [
        ("made", str(facts.get("made_at", ""))),
        ("runs", str(facts.get("runs", ""))),
        ("command", str(facts.get("command", ""))),
    ]
    return Document(
        title="Spatial probing report",
        subtitle=_SUBTITLE,
        facts=[(name, text) for name, text in made if text],
        sections=shown,
        warnings=[s.text for s in data.said("warning")],
        footer=str(facts.get("citation", "")),
    )


def _links(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the ids that cells and statements link to."""
    for section in sections:
        for block in section.blocks:
            for table in tables(block):
                for row in (*table.rows, *table.summary):
                    for cell in row.cells:
                        yield from ([cell.link] if cell.link else [])
            if isinstance(block, Paragraph):
                for item in block.items:
                    yield from item.links
