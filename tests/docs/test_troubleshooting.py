"""The messages that the troubleshooting page explains are messages that the code gives."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
STAGES = ("spatialprobe", "configs", "data", "extract", "cache", "fusion", "probe")
SECTIONS_OF_MESSAGES = re.findall(r"\| message \|.*?(?=\n\n|\Z)", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
MESSAGES = [
    message
    for section in SECTIONS_OF_MESSAGES
    for row in section.splitlines()[2:]
    for message in re.findall(r"`([^`]+)`", row.split("|")[1])
]


@pytest.fixture(scope="module")
def code() -> str:
    files = sorted(path for stage in STAGES for path in (REPOSITORY / stage).rglob("*.py"))
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("message", MESSAGES)
def test_message_exists(message: str, code: str) -> None:
    lacking = [part for part in re.split(r"\s*\.\.\.\s*", message) if part and part not in code]
    assert not lacking, f"no such words in the code: {lacking}"


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 20
