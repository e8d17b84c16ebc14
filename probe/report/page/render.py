"""A report's document as one self-contained HTML page, and the same as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from probe.report.page.document import Block, Cell, Charts, Document, Gallery, Missing, Paragraph, Scene, Table, tables
from probe.report.page.labels import RANDOM


def to_html(document: Document) -> str:
    """Return the page; it loads nothing, and its policy forbids browsers to try."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["prose"] = _prose
    environment.filters["svg"] = Markup  # made by probe.report.page.svg, which escapes
    blocks = [block for section in document.sections for block in section.blocks]
    places = {row.id for block in blocks for table in tables(block) for row in table.rows if row.id}
    return environment.from_string(_read("page.html.j2")).render(
        document=document,
        random=RANDOM,
        places=places,
        style=Markup(_read("style.css")),
        report_js=Markup(_read("report.js")),
        viewer_js=Markup(_read("viewer.js")),
        has_scene=any(isinstance(block, Scene) for block in blocks),
    )


def to_markdown(document: Document) -> str:
    """Return the report as Markdown: the same sections, words and numbers; pictures are named, not shown."""
    lines = [f"# {document.title}", "", document.subtitle, ""]
    lines += [f"- {name}: {_inline(value)}" for name, value in document.facts] + [""]
    for text in document.warnings:
        lines += [f"> **{_inline(text)}**", ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        lines += [_inline(section.lead), ""] if section.lead else []
        for block in section.blocks:
            lines += [*_markdown(block), ""]
    lines += ["---", "", _inline(document.footer)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def _prose(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _read(name: str) -> str:
    return (files("probe.report.page") / name).read_text(encoding="utf-8")


def _markdown(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield from ([f"### {block.title}", ""] if block.title else [])
        yield _inline(block.text)
        yield ""
        yield from (f"- {_inline(item.text)}" for item in block.items)
    elif isinstance(block, Table):
        yield from _markdown_table(block)
    elif isinstance(block, Charts):
        yield f"### {block.title}"
        yield ""
        yield _inline(block.note)
        yield ""
        if block.numbers:
            yield from _markdown_table(block.numbers)
    elif isinstance(block, Missing):
        yield _inline(block.text)
        if block.command:
            yield from ("", f"    {block.command}")
    else:
        yield f"### {block.title}"
        yield ""
        yield f"{_inline(block.note)} (in `index.html`)"
        if isinstance(block, Gallery):
            yield ""
            yield from (f"- {_inline(strip.caption)}{_tags(strip.tags)}" for strip in block.strips)


def _markdown_table(table: Table) -> Iterator[str]:
    yield f"**{_inline(table.title)}** {_inline(table.note)}".strip()
    yield ""
    yield "| " + " | ".join(_inline(column.title) for column in table.columns) + " |"
    yield "| " + " | ".join("---:" if column.number else "---" for column in table.columns) + " |"
    for row in (*table.rows, *table.summary):
        yield "| " + " | ".join(_markdown_cell(cell) for cell in row.cells) + " |"


def _markdown_cell(cell: Cell) -> str:
    texts = [cell.text + _tags(cell.tags), *(text for _, text in cell.links), *cell.detail]
    return "; ".join(_inline(text) for text in texts if text)


def _tags(tags: Sequence[str]) -> str:
    return f" ({', '.join(tag.upper() if tag == RANDOM else tag for tag in tags)})" if tags else ""


def _inline(text: str) -> str:
    """Escape what Markdown would read as markup, except code between backticks; line breaks become spaces."""
    parts = " ".join(text.split()).split("`")
    code = len(parts) % 2 == 1
    shown = [p if code and i % 2 else re.sub(r"([\\*_\[\]<>|])", r"\\\1", p) for i, p in enumerate(parts)]
    return "`".join(shown) if code else "\\`".join(shown)
