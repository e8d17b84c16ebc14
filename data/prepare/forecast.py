"""A dry run: makes two clips in a temporary folder and estimates the time and the disk that the whole run needs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from configs.console import format_bytes, format_seconds, print_table
from configs.files import free_bytes
from configs.machine import available_cores
from data.dataset.clip import ClipRefused, ClipSource
from data.dataset.layout import check_identity, clip_folder, identity_record
from data.dataset.splits import SALT
from data.prepare.prepare import STOPPING, make_clip, unique_clip_ids
from data.prepare.status import Status

SAMPLES = 2


def forecast(
    source: ClipSource, dataset: Path, *, workers: int = 0, select: float = 0.1, report: float = 0.1, salt: str = SALT
) -> list[Status]:
    """Make two clips in a temporary folder, print what the whole run will need, and keep nothing.

    Args:
        source: importer or generator.
        dataset: folder of the prepared dataset; it is not touched.
        workers: processes that the run will have; 0 = one per core.
        select, report, salt: parameters of the split.

    Returns:
        What became of the clips that were tried.

    Raises:
        StaleError: the folder holds a dataset made from other parameters.
        DatasetError: clip ids are unusable or not unique.
    """
    record = identity_record(source.info, {"select": select, "report": report, "salt": salt})
    if (dataset / "dataset.json").is_file():
        check_identity(dataset, record)
    clip_ids = unique_clip_ids(source)
    todo = [clip_id for clip_id in clip_ids if not clip_folder(dataset, clip_id).is_dir()]
    tried = _try(source, todo, str(record["parameters_sha256"]))
    made = [status for status in tried if status.status == "made"]
    parallel = min(workers or available_cores(), max(1, len(todo)))
    free = free_bytes(dataset)
    rows: list[list[object]] = [
        ["clips", len(clip_ids)], ["already there", len(clip_ids) - len(todo)], ["to be made", len(todo)],
        ["tried now", ", ".join(f"{s.clip} {s.status}" for s in tried) or "none"],
    ]  # fmt: skip
    if made:
        seconds = sum(s.seconds for s in made) / len(made) * len(todo) / parallel
        size = sum(s.bytes for s in made) / len(made) * len(todo)
        rows += [
            ["time", f"about {format_seconds(seconds)} with {parallel} processes"],
            ["disk", f"about {format_bytes(size)}; {format_bytes(free)} free"],
        ]
    print_table(f"Forecast for {dataset.name}", ["what", "value"], rows, notes=["nothing was kept"])
    if made and size > free:
        print("warning: the disk is too small; choose another one with root=...")
    for status in tried:
        if status.reason:
            print(f"{status.clip} {status.status}: {status.reason}")
        for text in status.warnings:
            print(f"warning: {status.clip}: {text}")
    return tried


def _try(source: ClipSource, todo: Sequence[str], parameters_sha256: str) -> list[Status]:
    """Make the first clip and one from the middle."""
    chosen = list(dict.fromkeys([*todo[:1], *todo[len(todo) // 2 :][:1]]))[:SAMPLES]
    statuses = []
    with tempfile.TemporaryDirectory(prefix="spatialprobe-") as folder:
        (Path(folder) / "clips").mkdir()
        for clip_id in chosen:
            try:
                statuses.append(
                    make_clip(source, Path(folder), len(source.info.class_names), parameters_sha256, clip_id)
                )
            except Exception as error:  # a bug in a decoder is a finding of the dry run too
                if isinstance(error, STOPPING):
                    raise
                kind = "refused" if isinstance(error, ClipRefused) else "failed"
                statuses.append(Status(clip_id, kind, f"{type(error).__name__}: {error}"))
    return statuses
