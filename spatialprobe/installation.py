"""Where this installation lies, and what else on the machine has the names of its packages.

The stages are top-level packages with common names: a `data/` or `cache.py` in the working directory, or another
installed distribution, could be imported in their place. Only the standard library is imported here, so that the
program can put its own folder first before it imports anything else.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("spatialprobe", "configs", "data", "extract", "cache", "fusion", "probe")
"""Everything that the distribution installs at the top level."""
ROOT = Path(__file__).resolve().parents[1]
"""Folder that holds the packages: a checkout, or site-packages."""

path_before: list[str] = list(sys.path)
"""The module path as it was before `put_first`."""


def put_first() -> None:
    """Make this process import the packages that lie beside this one, whatever else is on the module path.

    The working directory, which `python -m` puts first, is taken off: nothing is to be imported from there.
    """
    path_before[:] = sys.path
    if sys.path and not sys.flags.safe_path and sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]
    sys.path.insert(0, str(ROOT))


class Shadow(NamedTuple):
    """Another module or package that a plain `import` finds in place of ours."""

    package: str
    place: Path


def shadows(path: list[str]) -> list[Shadow]:
    """Return what hides our packages on a module path, in the order of `PACKAGES`."""
    found = {package: _place(package, path) for package in PACKAGES}
    return [
        Shadow(package, place)
        for package, place in found.items()
        if place is not None and not place.resolve().is_relative_to(ROOT / package)
    ]


def _place(package: str, path: list[str]) -> Path | None:
    """Return the file or folder that an import would take, None if there is none on the path."""
    spec = PathFinder.find_spec(package, path)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec.origin else Path(folders[0]) if folders else None
