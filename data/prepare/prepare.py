"""Makes a prepared dataset from a source of clips: in parallel, resumable, the same bytes however often cut off."""

from __future__ import annotations

import dataclasses
import functools
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.console import Progress, get_logger
from configs.errors import ConfigError, DatasetError, MissingError, ModelError, SpatialprobeError, StaleError
from configs.files import folder_bytes, remove_stale, sealed_json, write_atomic
from configs.jobs import run_jobs
from data.dataset.check import clip_positions, describe_invalid
from data.dataset.clip import Clip, ClipRefused, ClipSource, GetsReady
from data.dataset.clip_files import read_clip_record, write_clip
from data.dataset.layout import check_clip_id, claim_identity, clip_folder, identity_record
from data.dataset.queries import freeze_plans
from data.dataset.splits import SALT
from data.dataset.tables import build_tables
from data.prepare.status import Status, write_statuses
from data.raw.depth import DOUBTFUL, doubtful_depth

log = get_logger("data.prepare.prepare")
STOPPING = (OSError, ConfigError, ModelError)
"""Errors that would hit every clip alike: a full disk, a wrong option, a missing model. They end the run at once."""


@dataclass(frozen=True)
class Summary:
    """What a run did: clips made now, found finished, failed and refused with their reasons, and all as rows."""

    made: int
    kept: int
    failed: dict[str, str]
    seconds: float
    refused: dict[str, str]
    statuses: list[Status]


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
    cluster: str = "local",
    status_file: Path | None = None,
) -> Summary:
    """Make all clips of a source that are not there yet, then the tables and query plans.

    Args:
        source: importer or generator.
        dataset: folder of the prepared dataset.
        plans: names of query plans to freeze (see `data.dataset.queries.freeze_plans`).
        select, report, salt: split of groups without an official split (see `data.dataset.splits`).
        workers: processes; 0 = one per core.
        allowed_failures: clips that may fail; with more, the run ends in an error and the dataset stays unfinished.
        cluster: "local" or the address of a Dask scheduler (see `configs.jobs`).
        status_file: where to write the table of statuses, also when the run ends in an error.

    Raises:
        StaleError: the folder holds a dataset made from other parameters, or clips made from other raw data.
        DatasetError: more clips failed than allowed; their reasons are in `quarantine/`.
        OSError: the disk is full or can't be written. Finished clips stay; the same call continues.
    """
    start = time.monotonic()
    splits = {"select": select, "report": report, "salt": salt}
    record = identity_record(source.info, splits)
    clip_ids = unique_clip_ids(source)
    claim_identity(dataset, record)
    for folder in ("clips", "queries", "quarantine"):
        (dataset / folder).mkdir(exist_ok=True)
        remove_stale(dataset / folder)
    remove_stale(dataset)
    statuses: dict[str, Status] = {}
    for clip_id in clip_ids:
        if clip_folder(dataset, clip_id).is_dir():
            statuses[clip_id] = Status(clip_id, "kept", bytes=folder_bytes(clip_folder(dataset, clip_id)))
    _check_stamps(source, dataset, list(statuses))
    _warn_of_others(dataset, clip_ids)
    todo = [clip_id for clip_id in clip_ids if clip_id not in statuses]
    if isinstance(source, GetsReady):
        source.get_ready(dataset, todo)
    try:
        _make_clips(source, dataset, todo, record, workers, cluster, statuses)
    finally:
        rows = [statuses[clip_id] for clip_id in clip_ids if clip_id in statuses]
        if status_file is not None:
            write_statuses(status_file, rows)
    failed, refused = ({s.clip: s.reason for s in rows if s.status == kind} for kind in ("failed", "refused"))
    if len(failed) > allowed_failures:
        raise DatasetError(
            f"{len(failed)} of {len(clip_ids)} clips could not be made, for example "
            + "; ".join(f"{clip_id}: {_brief(reason)}" for clip_id, reason in list(failed.items())[:3]),
            where=dataset / "quarantine",
            expected=f"at most {allowed_failures} failures",
            fix="repair the raw data and run the same command again, or raise allowed_failures=",
        )
    done = [row.clip for row in rows if row.status in ("made", "kept")]
    if not done:
        reasons = "; ".join(sorted({_brief(reason) for reason in {**failed, **refused}.values()})[:3])
        raise DatasetError("no clip could be made", where=dataset, found=reasons or None, fix="check the raw data")
    build_tables(dataset, done, splits)
    freeze_plans(dataset, plans)
    made = sum(row.status == "made" for row in rows)
    return Summary(made, len(clip_ids) - len(todo), failed, time.monotonic() - start, refused, rows)


def unique_clip_ids(source: ClipSource) -> list[str]:
    """Return the clip ids of a source, checked.

    Raises:
        DatasetError: an id is not a safe folder name, or is not unique.
    """
    clip_ids = [check_clip_id(clip_id) for clip_id in source.clip_ids()]
    if len(set(clip_ids)) != len(clip_ids):
        raise DatasetError("clip ids are not unique", found=sorted({c for c in clip_ids if clip_ids.count(c) > 1}))
    return clip_ids


def _warn_of_others(dataset: Path, clip_ids: Sequence[str]) -> None:
    """Warn of finished clips that this run does not name: they stay on the disk, but leave the index."""
    known = set(clip_ids)
    others = sorted(path.name for path in (dataset / "clips").iterdir() if path.name not in known and path.is_dir())
    others = [name for name in others if not name.startswith(".")]
    if others:
        log.warning(
            "%d clips made earlier are not among the %d of this run (%s, ...): they stay on the disk, but the dataset "
            "will not list them; to have both, run once with the raw data of both",
            len(others), len(clip_ids), others[0],
        )  # fmt: skip


def _check_stamps(source: ClipSource, dataset: Path, kept: Sequence[str]) -> None:
    """Refuse to keep clips whose raw data is not what they were made from (see `data.dataset.clip.ClipSource`).

    Raw data that is gone contradicts nothing: whoever has deleted it after the import keeps the clip.
    """
    stamp = getattr(source, "stamp", None)
    if stamp is None:
        return
    changed = []
    for clip_id in kept:
        recorded = read_clip_record(dataset, clip_id).get("sources", {}).get("stamp")
        try:
            if recorded is not None and recorded != stamp(clip_id):
                changed.append(clip_id)
        except (DatasetError, MissingError) as error:
            log.debug("the raw data of %s can't be compared: %s", clip_id, error)
    if changed:
        raise StaleError(
            f"the raw data of {len(changed)} clips has changed since they were made",
            where=dataset / "clips", found=", ".join(changed[:5]),
            fix="delete the folders of these clips and run the same command again, or choose another dataset=...",
        )  # fmt: skip


def _make_clips(
    source: ClipSource, dataset: Path, todo: Sequence[str], record: dict[str, Any], workers: int, cluster: str,
    statuses: dict[str, Status],
) -> None:  # fmt: skip
    make = functools.partial(make_clip, source, dataset, len(source.info.class_names), str(record["parameters_sha256"]))
    with Progress(len(todo), f"preparing {source.info.name}", log=log) as bar:
        for clip_id, result in run_jobs(make, todo, workers, cluster):
            quarantine = dataset / "quarantine" / f"{clip_id}.json"
            if isinstance(result, STOPPING) or (
                isinstance(result, BaseException) and not isinstance(result, Exception)
            ):
                raise result
            if isinstance(result, BaseException):
                status = Status(clip_id, "refused" if isinstance(result, ClipRefused) else "failed", _reason(result))
                entry = {"clip_id": clip_id, "status": status.status, "reason": status.reason}
                write_atomic(quarantine, sealed_json(entry))
                log.warning("clip %s %s: %s", clip_id, status.status, status.reason)
            else:
                status = result
                quarantine.unlink(missing_ok=True)
                log.debug("made", extra={"fields": {"clip_id": clip_id, "seconds": status.seconds}})
            statuses[clip_id] = status
            bar.advance()


def _reason(error: BaseException) -> str:
    """What the quarantine says: the message of an expected error, the traceback of an unexpected one."""
    if isinstance(error, SpatialprobeError):
        return str(error)
    trace = "".join(traceback.format_exception(error)).rstrip()
    return f"unexpected {type(error).__name__}: {error}\n{trace}"


def _brief(reason: str) -> str:
    return reason.splitlines()[0]


def make_clip(source: ClipSource, dataset: Path, n_classes: int, parameters_sha256: str, clip_id: str) -> Status:
    """Make and write one clip; return its status.

    Raises:
        DatasetError: its raw data can't be read or used.
        OSError: it can't be written.
    """
    start = time.monotonic()
    folder = clip_folder(dataset, clip_id)
    warnings: tuple[str, ...] = ()
    if not folder.is_dir():
        try:
            clip = source.make(clip_id)
        except OSError as error:
            raise DatasetError(f"the raw data can't be read: {error}", where=error.filename or clip_id) from error
        clip = dataclasses.replace(clip, warnings=[*clip.warnings, *_doubts(clip, source.info.units)])
        write_clip(dataset, clip, n_classes=n_classes, parameters_sha256=parameters_sha256)
        warnings = tuple(clip.warnings)
    return Status(clip_id, "made", "", time.monotonic() - start, folder_bytes(folder), warnings)


def _doubts(clip: Clip, units: str) -> list[str]:
    """What is implausible about a clip's depth. Depth that no file or model gave, the renderer's, isn't doubted."""
    if clip.depth is None or (clip.depth_kind == "oracle" and clip.depth_step is None):
        return []
    reasons = doubtful_depth(clip.depth, step=clip.depth_step, metres=units == "metres")
    numbers = clip.frame_src[np.searchsorted(clip_positions(clip), clip.gt_frames)]
    return describe_invalid(reasons, numbers, what=DOUBTFUL)
