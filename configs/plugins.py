"""Plug-ins: folders outside the project that add models, tasks and YAML files to it.

A plug-in has the layout of the project: `configs/model/*.yaml`, `extract/<group>/<family>/adapter.py`,
`probe/tasks/<task>/`. It is named in `SPATIALPROBE_PLUGINS`, or installed as a package with an entry point of the group
`spatialprobe.plugins`. Its code runs with all rights of the user; so a folder that holds data (an artifact root, a
prepared dataset, a feature store) is never one, even if it is named.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from configs.console import get_logger
from configs.files import artifact_root

VARIABLE = "SPATIALPROBE_PLUGINS"
"""Environment variable with the folders, separated as in PATH."""
GROUP = "spatialprobe.plugins"
"""Group of entry points; each may have any name, and its value is the name of a top-level package."""
DATA_MARKS = ("dataset.json", "store.json")
"""Files that make a folder a prepared dataset or a feature store."""


class Plugin(NamedTuple):
    """One plug-in.

    Attributes:
        folder: resolved, with the layout of the project.
        origin: how it was named, for messages.
    """

    folder: Path
    origin: str


class Found(NamedTuple):
    """The plug-ins found: those in use, and why others aren't."""

    plugins: tuple[Plugin, ...]
    problems: tuple[str, ...]


_artifact_roots: set[Path] = set()


def keep_out_of(root: str | os.PathLike[str] | None) -> None:
    """Use no plug-in from an artifact root that a command names, beside the usual one."""
    _artifact_roots.add(artifact_root(root))


def plugin_folders() -> tuple[Plugin, ...]:
    """Return the plug-ins in the order in which they are named, those of the environment variable first.

    What is named but not usable is skipped with one warning per process.
    """
    found = find_plugins()
    _warn(found.problems)
    return found.plugins


def find_plugins() -> Found:
    """Look for the plug-ins that are named, without importing any of them."""
    data = frozenset(root.resolve() for root in (artifact_root(), *_artifact_roots))
    return _find(os.environ.get(VARIABLE, ""), data)


@functools.lru_cache(maxsize=8)
def _find(named: str, data: frozenset[Path]) -> Found:
    plugins: dict[Path, Plugin] = {}
    problems = []
    for origin, place in (*_from_variable(named), *_from_entry_points()):
        folder = Path(place).expanduser().resolve() if place else None
        problem = "no such top-level package" if folder is None else _problem(folder, data)
        if problem or folder is None:
            problems.append(f"{place}: {problem} ({origin})" if place else f"{origin}: {problem}")
        else:
            plugins.setdefault(folder, Plugin(folder, origin))
    return Found(tuple(plugins.values()), tuple(problems))


def _from_variable(named: str) -> Iterator[tuple[str, str]]:
    yield from ((VARIABLE, place) for place in named.split(os.pathsep) if place)


def _from_entry_points() -> Iterator[tuple[str, str]]:
    from importlib.metadata import entry_points  # loads much that commands without names of files don't need

    for point in entry_points(group=GROUP):
        origin = f"entry point {point.name} = {point.value}"
        yield origin, _package_folder(point.value)


def _package_folder(name: str) -> str:
    """Return the folder of a top-level package without importing it, empty if there is none."""
    if not name.isidentifier():
        return ""
    try:
        spec = find_spec(name)
    except ValueError:  # a module without a specification has that name
        return ""
    return next(iter(spec.submodule_search_locations or ()), "") if spec else ""


def _problem(folder: Path, data: frozenset[Path]) -> str | None:
    """Return why a folder can't be a plug-in, None if it can."""
    if not folder.is_dir():
        return "not a folder" if folder.exists() else "no such folder"
    for above in (folder, *folder.parents):
        if above in data:
            return f"inside the artifact root {above}, from which no code is run"
        marks = [mark for mark in DATA_MARKS if (above / mark).is_file()]
        if marks:
            return f"inside {above}, which holds {marks[0]}: no code is run from data"
    if not any((folder / part).is_dir() for part in ("configs", "extract", "probe")):
        return "has none of the folders configs, extract and probe"
    return None


@functools.lru_cache(maxsize=8)
def _warn(problems: tuple[str, ...]) -> None:
    if problems and multiprocessing.parent_process() is None:
        get_logger("plugins").warning("plug-ins that are not used:\n  %s", "\n  ".join(problems))


def open_package(name: str) -> tuple[Path, ...]:
    """Let modules of plug-ins be imported as parts of one of our packages; return the folders of the package.

    Ours comes first, so that no plug-in replaces a module of the project.

    Args:
        name: of the package, such as `extract.video`; the plug-ins' folders are `extract/video`.
    """
    package = import_module(name)
    for plugin in plugin_folders():
        folder = str(plugin.folder.joinpath(*name.split(".")))
        if Path(folder).is_dir() and folder not in package.__path__:
            package.__path__.append(folder)
    return tuple(map(Path, package.__path__))
