"""What the page says and how: numbers, marks, links, Markdown, and nothing from outside."""

from __future__ import annotations

import dataclasses
import html
import re
from pathlib import Path

import pandas as pd
import pytest

from probe.report.contract import ReportData, columns_of
from probe.report.page.by_setting import Settings
from probe.report.page.compose import compose
from probe.report.page.document import Document, Missing, Table, tables
from probe.report.page.labels import Sources
from probe.report.page.render import to_html, to_markdown
from probe.report.page.sections.main_table import main_section
from probe.report.page.values import NONE, anchor, interval, records, shown, signed, size
from probe.report.tables.schema import TABLES
from tests.probe.report.sample import sample


@pytest.fixture(scope="module")
def document(report: ReportData) -> Document:
    """The content of the sample's report."""
    return compose(report)


@pytest.fixture(scope="module")
def built(page: Path) -> tuple[str, str]:
    """Text of the page and of the Markdown."""
    return page.read_text(encoding="utf-8"), (page.parent / "report.md").read_text(encoding="utf-8")


def test_loads_nothing_from_anywhere(built: tuple[str, str]) -> None:
    page, _ = built
    sources = re.findall(r"(?:src|href|srcset|action|data)\s*=\s*[\"']([^\"']*)", page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in page and "@import" not in page and "http://" not in page
    assert "default-src 'none'" in page


def test_every_link_leads_somewhere_and_no_id_is_used_twice(built: tuple[str, str]) -> None:
    page, _ = built
    places = re.findall(r"\sid=\"([^\"]+)\"", page)
    assert len(places) == len(set(places))
    links = set(re.findall(r"href=\"#([^\"]+)\"", page))
    assert links and links <= set(places)


def test_numbers_in_the_published_unit(report: ReportData, built: tuple[str, str]) -> None:
    page, markdown = built
    row = records(report.table("main"))[0]
    value, low, high = (row[key] for key in ("map", "map.low", "map.high"))
    for text in (page, markdown.replace("\\", "")):
        assert f"{100 * value:.2f}" in text
        assert f"[{100 * low:.2f}, {100 * high:.2f}]" in text
        assert "paper 50.00" in text
        assert "\N{GREEK CAPITAL LETTER DELTA} \N{MINUS SIGN}10.00" in text
    assert "3 clips, 1 seed" in page


def test_a_number_leads_to_its_runs(report: ReportData, built: tuple[str, str]) -> None:
    page, _ = built
    row = records(report.table("main"))[0]
    place = anchor("cell", row["map.cell"])
    assert f'href="#{place}"' in page
    target = page.split(f'<tr id="{place}"')[1].split("</tr>")[0]
    cell = report.table("cells").set_index("cell").loc[row["map.cell"]]
    assert f'href="#{anchor("run", cell["runs"])}"' in target
    assert f'data-sort="{row["map"]}"' in target
    assert "main.parquet" in target
    command = page.split(f'<tr id="{anchor("run", cell["runs"])}"')[1].split("</tr>")[0]
    assert "spatialprobe probe train task=tagging model=wan-t2v-1.3b" in command


def test_random_weights_are_marked_in_every_table_that_shows_them(document: Document, built: tuple[str, str]) -> None:
    page, markdown = built
    seen = 0
    for section in document.sections:
        for table in (t for block in section.blocks for t in tables(block)):
            for row in table.rows:
                if row.cells[0].text == "Qwen3-VL-2B" and section.id != "scatter":
                    assert "random" in row.kinds and "random weights" in row.cells[0].tags, (section.id, table.title)
                    seen += 1
    assert seen > 10
    assert page.count('<span class="tag random">random weights</span>') > seen
    assert "RANDOM WEIGHTS" in markdown
    assert "Qwen3-VL-2B (random weights)" in page  # the radar, where no badge can stand


def test_what_comes_from_outside_is_text_not_markup(built: tuple[str, str]) -> None:
    page, markdown = built
    assert "<b>Not a result.</b>" not in page and html.escape("<b>Not a result.</b>") in page
    assert "Oracle <all>" not in page
    assert "\\<b\\>" in markdown


def test_markdown_says_the_same(report: ReportData, document: Document, built: tuple[str, str]) -> None:
    _, markdown = built
    for section in document.sections:
        assert f"## {section.title}\n" in markdown
    plain = markdown.replace("\\", "")
    for statement in report.words:
        assert statement.text in plain
    assert "spatialprobe probe train task=tagging model=wan-t2v-1.3b" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) > 100


def test_without_any_run_every_section_says_why_and_what_helps() -> None:
    empty = ReportData({name: pd.DataFrame(columns=columns_of(name)) for name in TABLES}, (), {})
    document = compose(empty)
    silent = {"method", "provenance"}
    for section in document.sections:
        if section.id in silent:
            continue
        missing = [block for block in section.blocks if isinstance(block, Missing)]
        assert missing, section.id
        assert all(block.text and "spatialprobe " in block.command for block in missing), section.id
    assert "<table" in to_html(document)
    assert to_markdown(document).startswith("# Spatial probing report")


def test_missing_numbers_are_dashes_and_sort_last(document: Document) -> None:
    section = next(section for section in document.sections if section.id == "classes")
    table = next(block for block in section.blocks if isinstance(block, Table))
    bed = next(row for row in table.rows if row.cells[0].text == "bed")
    assert bed.cells[-1].text == NONE and bed.cells[-1].sort is None and bed.cells[-1].note == "no clip"
    chair = next(row for row in table.rows if row.cells[0].text == "chair")
    assert chair.cells[-1].sort is not None


def test_stores_of_one_source_keep_their_own_names_and_looks() -> None:
    data = sample()
    table = data.table("sources")
    partial = table[table["source"] == "oracle"].assign(label="Oracle: depth", role="partial oracle", store="ffff")
    tables = {**data.tables, "sources": pd.concat([table, partial], ignore_index=True)}
    sources = Sources(dataclasses.replace(data, tables=tables))
    whole, part = ({"label": label, "source": "oracle"} for label in ("Oracle <all>", "Oracle: depth"))
    assert sources.tags(whole) == ("oracle",) and sources.tags(part) == ("partial oracle",)
    assert sources.style(whole) != sources.style(part)
    twin = {"entry": "", "store": "ffff", "source": "oracle"}
    assert sources.of_run(twin)["label"] == "Oracle: depth"
    tower = {"label": "Qwen3-VL-2B: vision tower", "source": "qwen-tiny-random"}
    assert "random weights" in sources.tags(tower) and "random" in sources.kinds(tower)
    average = {"label": "the average of 2 untrained models", "source": "the average of 2 untrained models"}
    assert sources.tags(average) == ("random weights",)
    assert sources.tags({"label": "the average of 2 models", "source": None}) == ()


def test_published_figures_stand_beside_models_only() -> None:
    data = sample()
    table = data.table("main")
    tower = table[(table["source"] == "wan-t2v-1.3b") & (table["origin"] == "ours")]
    tower = tower.assign(role="vision tower", label="WAN2.1: vision tower")
    twins = table[table["origin"] == "average"].assign(untrained=True, label="Average of 2 untrained twins")
    tables = {**data.tables, "main": pd.concat([table, tower, twins], ignore_index=True)}
    section = main_section(dataclasses.replace(data, tables=tables), Sources(data), Settings(data))
    board = section.blocks[0]
    assert isinstance(board, Table)
    details = {row.cells[0].text: " ".join(row.cells[3].detail) for row in board.rows}
    assert "paper" in details["WAN2.1-T2V-1.3B"] and "paper" not in details["WAN2.1: vision tower"]
    assert [("random" in row.kinds, bool(row.cells[0].tags)) for row in board.summary] == [(False, False), (True, True)]


def test_the_same_data_gives_the_same_page(document: Document, built: tuple[str, str]) -> None:
    assert to_html(document) == built[0]


def test_a_lost_run_folder_is_said_not_hidden(tmp_path: Path) -> None:
    document = compose(dataclasses.replace(sample(), root=str(tmp_path)))
    pictures = next(section for section in document.sections if section.id == "pictures")
    assert all(isinstance(block, Missing) for block in pictures.blocks)
    assert any("no prepared dataset 'toy'" in block.text for block in pictures.blocks if isinstance(block, Missing))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (shown(0.12345, "map"), "12.35"),
        (shown(0.12345, "abs_rel"), "0.123"),
        (shown(None, "map"), NONE),
        (signed(-0.05, "map"), "\N{MINUS SIGN}5.00"),
        (signed(0.05, "abs_rel"), "+0.050"),
        (signed(-0.000001, "map"), "0.00"),
        (interval(0.1, 0.2, "t_sr"), "[10.00, 20.00]"),
        (interval(None, 0.2, "t_sr"), ""),
        (size(81920), "81.9 kB"),
        (size(None), NONE),
    ],
)
def test_number_formats(text: str, expected: str) -> None:
    assert text == expected


def test_anchors_are_unique_and_safe() -> None:
    names = ["a.b", "a_b", "a b", "a-b", 'a"b', "a_2eb"]
    places = [anchor("cell", name) for name in names]
    assert len(set(places)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", place) for place in places)
