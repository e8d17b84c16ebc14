"""The documentation as text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """One code block: the words behind the fence (empty for an indented one), its text, its first line's number."""

    page: Path
    info: str
    text: str
    line: int


def code_blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced and the indented code blocks of a Markdown page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"^(\s*)```(.*)$", lines[number])
        start = number
        if fence:
            number += 1
            while not lines[number].strip().startswith("```"):
                number += 1
            yield Block(page, fence[2].strip(), "\n".join(lines[start + 1 : number]), start + 2)
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            while number < len(lines) and (lines[number].startswith("    ") or not lines[number].strip()):
                number += 1
            text = "\n".join(line[4:] for line in lines[start:number])
            yield Block(page, "", text, start + 1)
            continue
        number += 1


PLACEHOLDERS = (
    (r"\b(model|MODEL)=\.\.\.", r"\1=wan-t2v-1.3b"),
    (r"\bdataset=\.\.\.", "dataset=rooms"),
    (r"\bkind=\.\.\.", "kind=rooms"),
    (r"\btask=\.\.\.", "task=geometry"),
    (r"\btcp://\.\.\.", "tcp://localhost:8786"),
)
"""What stands for `...` in commands inside sentences."""


def inline_commands(page: Path) -> Iterator[Block]:
    """Yield the commands inside the sentences of a page as blocks of their own, `...` replaced."""
    prose = re.sub(
        r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"), flags=re.S | re.M
    )
    for found in re.finditer(r"`((?:make|python|spatialprobe) [^`]+)`", prose):
        text = found[1]
        for pattern, instead in PLACEHOLDERS:
            text = re.sub(pattern, instead, text)
        yield Block(page, "", text, prose.count("\n", 0, found.start()) + 1)


def environment_of_make() -> dict[str, str]:
    """Return this process's environment without what a make that runs the tests hands down to a make that they run."""
    return {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS")
    }


def run_verb(*words: str) -> int:
    """Run `spatialprobe <words>` in this process."""
    from spatialprobe.command import main

    return main(words)
