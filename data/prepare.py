"""Makes a prepared dataset from a source of clips: in parallel, resumable, the same bytes however often cut off."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.console import get_logger, progress
from configs.errors import DatasetError
from data.clip import ClipSource
from data.files import json_bytes, remove_stale, write_atomic
from data.identity import claim_identity, identity_record
from data.jobs import run_jobs
from data.layout import check_clip_id, clip_folder
from data.plans import write_plans
from data.splits import SALT
from data.tables import build_tables
from data.writer import write_clip

log = get_logger("data.prepare")


@dataclass(frozen=True)
class Summary:
    """What a run did: clips made now, found finished, and failed with their reasons."""

    made: int
    kept: int
    failed: dict[str, str]
    seconds: float


def prepare(
    source: ClipSource,
    dataset: Path,
    *,
    plans: Sequence[str] = (),
    select: float = 0.1,
    report: float = 0.1,
    salt: str = SALT,
    workers: int = 0,
    allowed_failures: int = 0,
) -> Summary:
    """Make all clips of a source that are not there yet, then the tables and view plans.

    Args:
        source: importer or generator.
        dataset: folder of the prepared dataset.
        plans: names of evaluation view plans to freeze (see `data.plans`).
        select, report, salt: split of groups without an official split (see `data.splits`).
        workers: processes; 0 = one per core.
        allowed_failures: clips that may fail; with more, the run ends in an error and the dataset stays unfinished.

    Raises:
        StaleError: the folder holds a dataset made from other parameters.
        DatasetError: more clips failed than allowed; their reasons are in `quarantine/`.
        OSError: the disk is full or can't be written. Finished clips stay; the same call continues.
    """
    start = time.monotonic()
    splits = {"select": select, "report": report, "salt": salt}
    record = identity_record(source.info, splits)
    clip_ids = [check_clip_id(clip_id) for clip_id in source.clip_ids()]
    if len(set(clip_ids)) != len(clip_ids):
        raise DatasetError("clip ids are not unique", found=sorted({c for c in clip_ids if clip_ids.count(c) > 1}))
    claim_identity(dataset, record)
    for folder in ("clips", "views", "quarantine"):
        (dataset / folder).mkdir(exist_ok=True)
        remove_stale(dataset / folder)
    remove_stale(dataset)
    todo = [clip_id for clip_id in clip_ids if not clip_folder(dataset, clip_id).is_dir()]
    failed = _make_clips(source, dataset, todo, record, workers)
    if len(failed) > allowed_failures:
        raise DatasetError(
            f"{len(failed)} of {len(clip_ids)} clips could not be made, for example "
            + "; ".join(f"{clip_id}: {reason.splitlines()[0]}" for clip_id, reason in list(failed.items())[:3]),
            where=dataset / "quarantine",
            expected=f"at most {allowed_failures} failures",
            fix="mend the raw data and run the same command again, or raise allowed_failures=",
        )
    done = [clip_id for clip_id in clip_ids if clip_id not in failed]
    if not done:
        raise DatasetError("no clip could be made", where=dataset, fix="check the path of the raw data")
    build_tables(dataset, done, splits)
    write_plans(dataset, plans)
    return Summary(len(todo) - len(failed), len(clip_ids) - len(todo), failed, time.monotonic() - start)


def _make_clips(
    source: ClipSource, dataset: Path, todo: Sequence[str], record: dict[str, Any], workers: int
) -> dict[str, str]:
    make = functools.partial(make_clip, source, dataset, len(source.info.class_names), str(record["parameters_sha256"]))
    failed: dict[str, str] = {}
    with progress(len(todo), f"preparing {source.info.name}") as bar:
        for clip_id, result in run_jobs(make, todo, workers):
            quarantine = dataset / "quarantine" / f"{clip_id}.json"
            if isinstance(result, DatasetError):
                failed[clip_id] = str(result)
                write_atomic(quarantine, json_bytes({"clip_id": clip_id, "reason": str(result)}))
                log.warning("clip %s failed: %s", clip_id, result)
            elif isinstance(result, BaseException):
                raise result
            else:
                quarantine.unlink(missing_ok=True)
                log.debug("made", extra={"fields": {"clip_id": clip_id, "seconds": result}})
            bar.advance()
    return failed


def make_clip(source: ClipSource, dataset: Path, n_classes: int, parameters_sha256: str, clip_id: str) -> float:
    """Make and write one clip; return the seconds it took."""
    start = time.monotonic()
    if not clip_folder(dataset, clip_id).is_dir():
        write_clip(dataset, source.make(clip_id), n_classes=n_classes, parameters_sha256=parameters_sha256)
    return time.monotonic() - start
