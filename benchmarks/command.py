"""What every benchmark does with the words after its name: `--help`, options, errors and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from configs.cli import print_options
from configs.errors import SpatialprobeError
from configs.loader import parse_overrides, resolve
from configs.options import options_of

Options = TypeVar("Options")


def run(main: Callable[[Options], int], options: type[Options], about: str | None, words: list[str]) -> int:
    """Read the options of a benchmark, measure and print; returns the exit code, 2 for bad options.

    Args:
        main: the benchmark; returns its exit code.
        options: its options, a dataclass.
        about: its docstring, for `--help`.
        words: `key=value` as typed.
    """
    if {"-h", "--help"} & set(words):
        print(f"{about}\n")
        print_options(options_of(options))
        return 0
    try:
        return main(resolve(options, [], parse_overrides(words)))
    except SpatialprobeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
