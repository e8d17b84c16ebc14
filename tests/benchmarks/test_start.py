"""Every benchmark starts: it imports what it measures, and takes the options that its docstring shows."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from benchmarks import statistics
from benchmarks.command import run
from configs.loader import parse_overrides, resolve
from configs.options import options_of

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or (path / "__main__.py").is_file())


@pytest.mark.parametrize("name", NAMES)
def test_it_imports_and_takes_the_options_of_its_docstring(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    for line in re.findall(rf"python -m benchmarks\.{name} ([^`#\n]*=[^`#\n]*)", module.__doc__ or ""):
        words = [word for word in line.strip("[] ").split() if "..." not in word]
        resolve(module.Options, [], parse_overrides(words))


@pytest.mark.parametrize(
    "name",
    ["cache", "dataset", "extract", "fusion", "probe", "results", "rooms", "scout", "sens", "statistics", "weights"],
)
def test_help_lists_the_options_and_slips_are_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    program = importlib.import_module(f"benchmarks.{name}.__main__") if hasattr(module, "__path__") else module
    assert run(program.main, program.Options, module.__doc__, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {item.key}  (" in shown for item in options_of(program.Options))
    assert run(program.main, program.Options, module.__doc__, ["no_such=1"]) == 2
    assert "unknown key 'no_such'" in capsys.readouterr().err


@pytest.mark.parametrize("section", statistics.SECTIONS)
def test_every_simulated_rate_can_be_judged(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten studies a row say nothing about rates; they run through every one of them."""
    assert statistics.main(resolve(statistics.Options, [], {"only": section, "repeats": "10"})) in (0, 1)
    assert f"{section}: 10 studies a row" in capsys.readouterr().out
