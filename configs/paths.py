"""Where everything produced goes: one artifact root, the same folders below it for every stage."""

from __future__ import annotations

import os
from pathlib import Path

ROOT_VARIABLE = "SPATIALPROBE_HOME"
"""Environment variable that moves the artifact root; the option `root=` wins over it."""


def artifact_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the absolute artifact root: `root`, else `$SPATIALPROBE_HOME`, else `./artifacts`."""
    chosen = root or os.environ.get(ROOT_VARIABLE) or "artifacts"
    return Path(chosen).expanduser().absolute()


def dataset_path(root: str | os.PathLike[str] | None, dataset: str) -> Path:
    """Folder of one prepared dataset."""
    return artifact_root(root) / "datasets" / dataset


def features_path(root: str | os.PathLike[str] | None, dataset: str | None = None, source: str | None = None) -> Path:
    """Folder of all feature stores, of those of one dataset, or of one source; one folder per fingerprint below it."""
    path = artifact_root(root) / "features"
    for part in (dataset, source):
        if part is None:
            break
        path = path / part
    return path


def runs_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of probe runs, one sub-folder per run id."""
    return artifact_root(root) / "runs"


def results_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of result files, one per run, compacted to `results.parquet`."""
    return artifact_root(root) / "results"


def logs_path(root: str | os.PathLike[str] | None = None) -> Path:
    """Folder of log files, one per command."""
    return artifact_root(root) / "logs"
