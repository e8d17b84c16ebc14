"""Another order of tests, by `-p tests.order` and the variable TEST_ORDER: `reverse`, or a number that seeds a shuffle.

Files are shuffled, and tests inside a file, so that what a file sets up once is still set up once.
"""

from __future__ import annotations

import os
import random

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the collected tests into the wanted order."""
    order = os.environ["TEST_ORDER"]
    if order == "reverse":
        items.reverse()
        return
    draw = random.Random(int(order))
    files = sorted({str(item.path) for item in items})
    draw.shuffle(files)
    place = {file: number for number, file in enumerate(files)}
    draw.shuffle(items)
    items.sort(key=lambda item: place[str(item.path)])
