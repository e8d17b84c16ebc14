"""Checks of the installation before a long job: versions, PyTorch, the artifact root, and names taken by others."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from configs import cli, plugins
from configs.commands import PROGRAM, STAGES, program
from configs.console import format_bytes
from configs.files import ROOT_VARIABLE, artifact_root, free_bytes
from configs.machine import available_cores, package_version, visible_devices
from spatialprobe import installation

EXTRACT = "extract"
"""The stage that knows about weights, and the name of its optional dependencies."""


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        subject: what was checked.
        text: what was found.
        fix: what to do about it; None if nothing is wrong.
        wrong: whether something doesn't work as it is.
    """

    subject: str
    text: str
    fix: str | None = None
    wrong: bool = False


def doctor(root: str | None, models: Sequence[str] = ()) -> int:
    """Print the checks; returns 1 if something is wrong.

    Args:
        root: artifact root.
        models: those whose weights to look for; default all.
    """
    wrong = False
    for finding in findings(root):
        print(f"{finding.subject:<9}{finding.text}")
        if finding.fix:
            print(f"{'':<9}  fix: {finding.fix}")
        wrong |= finding.wrong
    optional = optional_packages(EXTRACT)
    if optional and not any(map(package_version, optional)):
        print(f"{EXTRACT:<9}not installed, probes don't need it: pip install -e '.[{EXTRACT}]' adds it")
        return int(wrong)
    print()
    from importlib import import_module  # the stage is imported as the command line imports it

    words = ["doctor", *([f"root={root}"] if root else [])]
    words += [f"model={','.join(models)}"] if models else []
    verbs = import_module(f"{EXTRACT}.__main__").VERBS
    return max(int(wrong), cli.main(EXTRACT, STAGES[EXTRACT], verbs, words))


def findings(root: str | None) -> Iterator[Finding]:
    """Yield what the checks of the installation find, those of all subjects in a fixed order."""
    version = package_version(PROGRAM)
    if version is None:
        yield Finding(
            "program", f"not installed, in {installation.ROOT}", "make setup, or pip install -e .", wrong=True
        )
    else:
        yield Finding("program", f"{PROGRAM} {version} in {installation.ROOT}")
    on_path = program() == PROGRAM
    yield Finding("command", program(), None if on_path else _activation())
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield from _requirements()
    yield _torch()
    yield from _root(root)
    yield from _plugins(root)
    yield from _names()


def _activation() -> str | None:
    """Return how to get the script onto the path, None where there is no script."""
    activate = Path(sys.executable).with_name("activate")
    return f"source {activate}  (then `{PROGRAM}` is enough)" if activate.is_file() else None


def _requirements() -> Iterator[Finding]:
    """Look for the packages that every stage needs."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires(PROGRAM) or ()]
    except PackageNotFoundError:
        return
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    found = {one: package_version(one.name) for one in needed}
    for one, version in found.items():
        if version is None:
            yield Finding("package", f"{one.name} is missing, {one.specifier} is needed", "make setup", wrong=True)
        elif not one.specifier.contains(version, prereleases=True):
            yield Finding("package", f"{one.name} is {version}, {one.specifier} is needed", "make setup", wrong=True)
    if all(found.values()):
        yield Finding("packages", f"{len(needed)} that all stages need are there")


def optional_packages(extra: str) -> list[str]:
    """Return the names of the packages of one group of optional dependencies."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires(PROGRAM) or ()]
    except PackageNotFoundError:
        return []
    return [one.name for one in wanted if one.marker and not one.marker.evaluate({"extra": ""})
            and one.marker.evaluate({"extra": extra})]  # fmt: skip


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:  # missing, or libraries that don't fit
        return Finding("torch", f"can't be imported: {error}", "make setup TORCH=cpu, or TORCH=cuda", wrong=True)
    builds = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    build = next((f"{name} {number}" for name, number in builds.items() if number), "CPU")
    devices = ", ".join(visible_devices("auto"))
    return Finding("torch", f"{torch.__version__}, built for {build}; {devices}; {available_cores()} cores")


def _root(given: str | None) -> Iterator[Finding]:
    root = artifact_root(given)
    place = next(path for path in (root, *root.parents) if path.exists())
    new = "" if root.exists() else ", to be made"
    elsewhere = f"choose another place with root=... or {ROOT_VARIABLE}"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0")
    except OSError as error:
        yield Finding("root", f"{root} can't be written to: {error.strerror}", elsewhere, wrong=True)
        return
    yield Finding("root", f"{root}{new}, {format_bytes(free_bytes(root))} free")


def _plugins(root: str | None) -> Iterator[Finding]:
    plugins.keep_out_of(root)
    found = plugins.find_plugins()
    for plugin in found.plugins:
        yield Finding("plug-in", f"{plugin.folder} ({plugin.origin})")
    for problem in found.problems:
        yield Finding("plug-in", f"not used: {problem}", f"correct or empty {plugins.VARIABLE}", wrong=True)


def _names() -> Iterator[Finding]:
    """Look for modules and distributions with the names of our packages."""
    from importlib.metadata import packages_distributions

    distributions = packages_distributions()
    for package in installation.PACKAGES:
        others = sorted({name for name in distributions.get(package, ()) if name.lower() != PROGRAM})
        if others:
            text = f"{package} belongs to {', '.join(others)} as well: what Python programs import by this name varies"
            yield Finding("names", text, f"pip uninstall {' '.join(others)}, or an environment of its own", wrong=True)
    here = str(Path.cwd())
    told: set[Path] = set()
    for shadow in installation.shadows([here, *installation.path_before]):
        if shadow.place in told:
            continue
        told.add(shadow.place)
        text = f"{shadow.place} hides {shadow.package} from Python started here; `{PROGRAM}` itself is not affected"
        yield Finding("names", text, "start notebooks and scripts in another folder, or rename it", wrong=True)
    if not told:
        yield Finding("names", f"{', '.join(installation.PACKAGES)} are found where they belong")
