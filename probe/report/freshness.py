"""Whether a report on disk is still what the same command would make: then nothing of it is computed again.

The inputs of a report are identified by names, sizes and modification times of files, by the options, and by the
content of the code. If anything differs, the whole report is made again.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from configs.console import get_logger
from configs.files import artifact_root, logs_path, results_path, write_atomic
from configs.identity import digest
from data.dataset.layout import STATUS_FILE, plan_path
from probe.report.config import ReportConfig, command_of, folder_of
from probe.results.survey import CHECKED

log = get_logger("report")

STATE = "made_from.json"
_INPUTS = ("results", "runs", "features")
"""Folders below the artifact root that are looked through file by file; of datasets, clips count as wholes, and
the table of statuses not at all: `data prepare` writes it anew when there is nothing to do."""
_STAGES = ("configs", "data", "cache", "fusion", "probe")
_LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "jinja2", "pillow", "torch")


def inputs_of(config: ReportConfig) -> str:
    """Return what stands for everything that a report is made from."""
    return inputs_digest(config.root, command_of(config))


def fresh_page(config: ReportConfig, inputs: str) -> Path | None:
    """Return the page of a report that is still what the same command would make; None if it has to be made.

    Args:
        config: what to report on, and where.
        inputs: from `inputs_of`.
    """
    folder = folder_of(config)
    if config.force or not is_fresh(folder, inputs):
        return None
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))["statements"]
    tell((word["topic"], word["text"]) for word in words)
    log.info("unchanged: results, options and code are those that it was made from; force=true makes it again")
    return folder / "index.html"


def tell(statements: Iterable[tuple[str, str]]) -> None:
    """Say what is wrong or missing; the rest is on the page."""
    for topic, text in statements:
        if topic in ("warning", "gap"):
            log.info("%s: %s", topic, text)


def inputs_digest(root: str | None, options: str) -> str:
    """Return what stands for everything that a report is made from.

    Args:
        root: artifact root.
        options: the command that makes the report.
    """
    home = artifact_root(root)
    files = [entry for folder in _INPUTS for entry in _files(home / folder)]
    files = [entry for entry in files if entry[0] != str(results_path(root) / CHECKED)]
    files += _files(Path(logs_path(root)) / "extract")
    for dataset in (home / "datasets").glob("*"):
        files += _stats([path for path in dataset.glob("*") if path.name != STATUS_FILE])
        files += _stats(list((dataset / "clips").glob("*")))
        files += _files(plan_path(dataset, "").parent)
    return digest([str(home), options, platform.python_version(), _versions(), code_digest(), sorted(files)])


def is_fresh(folder: Path, inputs: str) -> bool:
    """Whether the report in a folder is whole, untouched, and made from these inputs."""
    try:
        noted = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return bool(noted["inputs"] == inputs and noted["outputs"] == _outputs(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def note(folder: Path, inputs: str) -> None:
    """Record what the report in a folder was made from; call it last.

    Args:
        folder: of the report.
        inputs: `inputs_digest` from before it was made, so that whatever changes meanwhile counts as a change.
    """
    state = {"inputs": inputs, "outputs": _outputs(folder)}
    write_atomic(folder / STATE, (json.dumps(state, indent=1) + "\n").encode())


def code_digest() -> str:
    """Return what stands for the content of all files of the stages that a report runs through."""
    total = sha256()
    home = Path(__file__).parents[2]
    for stage in _STAGES:
        for path in sorted((home / stage).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(home)} ".encode() + path.read_bytes())
    return total.hexdigest()


def _outputs(folder: Path) -> str:
    names = [folder / name for name in ("index.html", "report.md", "words.json", "provenance.json")]
    tables = sorted((folder / "tables").glob("*.parquet"))
    return digest(_stats([*names, *tables]))


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    for place, _, names in os.walk(folder, followlinks=True):
        yield from _stats([Path(place) / name for name in names])


def _stats(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return path, size and time of last change; a path that is gone counts as such."""
    found = []
    for path in paths:
        try:
            stat = path.stat()
            found.append((str(path), stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((str(path), -1, -1))
    return found


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found
