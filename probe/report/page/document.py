"""What a report is made of before it becomes HTML or Markdown: sections of paragraphs, tables, charts and pictures.

Both outputs are rendered from the same blocks, so they say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what is read first.
        sort: what sorting looks at: a number, or None for a missing value, which stays at the bottom.
        detail: smaller lines below.
        note: shown when a pointer rests on the cell.
        link: id of the place in the page where the value comes from.
        shade: 0 to 1 fills the background, None leaves it.
        tags: short labels beside the text, such as `random weights`.
        links: further places in the page: (id, text).
    """

    text: str
    sort: float | str | None = None
    detail: Sequence[str] = ()
    note: str = ""
    link: str = ""
    shade: float | None = None
    tags: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Column:
    """One column: its name, what it means, whether it holds numbers or long text, a heading over several columns."""

    title: str
    help: str = ""
    number: bool = True
    group: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """One row; `kinds` become classes: `random`, `control`, `summary`."""

    cells: Sequence[Cell]
    kinds: Sequence[str] = ()
    id: str = ""


@dataclass(frozen=True)
class Item:
    """One sentence of a list, with the ids of the numbers that it rests on."""

    text: str
    links: Sequence[str] = ()


@dataclass(frozen=True)
class Paragraph:
    """Plain text below an optional heading; with `items` a list follows."""

    text: str
    items: Sequence[Item] = ()
    title: str = ""
    kind: str = "paragraph"


@dataclass(frozen=True)
class Table:
    """A sortable table; the first column names the rows. `folded` hides it until it is opened or linked to."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    summary: Sequence[Row] = ()
    id: str = ""
    folded: bool = False
    kind: str = "table"

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings that span columns, with the number of columns each; empty if no column has one."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(column.group for column in self.columns) else []


@dataclass(frozen=True)
class Legend:
    """One entry of a chart's legend: a small SVG and a name."""

    swatch: str
    name: str
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class Charts:
    """SVG panels that share a legend, with the numbers behind them as a table."""

    title: str
    panels: Sequence[str]
    legend: Sequence[Legend] = ()
    note: str = ""
    numbers: Table | None = None
    kind: str = "charts"


@dataclass(frozen=True)
class Image:
    """An embedded picture; `pixelated` enlarges cells of a map without blurring."""

    uri: str
    alt: str
    width: int
    height: int
    label: str = ""
    pixelated: bool = False


@dataclass(frozen=True)
class Strip:
    """Pictures beside each other that belong together, with one caption; in rows of `columns`, or all in one row."""

    caption: str
    images: Sequence[Image]
    tags: Sequence[str] = ()
    columns: int = 0


@dataclass(frozen=True)
class Gallery:
    """Strips of pictures about one thing."""

    title: str
    strips: Sequence[Strip]
    note: str = ""
    legend: Strip | None = None
    wide: bool = False
    kind: str = "gallery"


@dataclass(frozen=True)
class Scene:
    """Point clouds and camera paths of one clip for the interactive viewer; `content` is JSON for `viewer.js`."""

    title: str
    content: dict[str, Any]
    fallback: str
    note: str = ""
    kind: str = "scene"


@dataclass(frozen=True)
class Missing:
    """What is not here, why, and the command that brings it."""

    text: str
    command: str = ""
    kind: str = "missing"


Block = Paragraph | Table | Charts | Gallery | Scene | Missing


@dataclass(frozen=True)
class Section:
    """One chapter of the report; `short` names it in the navigation."""

    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""
    short: str = ""


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    footer: str = ""


def tables(block: Block) -> list[Table]:
    """Return the tables of a block."""
    if isinstance(block, Charts):
        return [block.numbers] if block.numbers else []
    return [block] if isinstance(block, Table) else []
