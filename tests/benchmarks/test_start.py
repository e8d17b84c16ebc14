"""Every benchmark starts: it imports what it measures, and takes the options that its docstring shows."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from configs.loader import parse_overrides, resolve

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or (path / "__main__.py").is_file())


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_and_takes_the_options_of_its_docstring(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    for line in re.findall(rf"python -m benchmarks\.{name} ([^`#\n]*=[^`#\n]*)", module.__doc__ or ""):
        words = [word for word in line.strip("[] ").split() if "..." not in word]
        resolve(module.Options, [], parse_overrides(words))
