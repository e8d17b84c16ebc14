"""Which clips, slots and rows of several sources belong together, and what keeps them apart."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs import commands
from configs.errors import MissingError, StaleError, StoreError
from configs.identity import differences
from configs.names import NOISE
from fusion.views.grids import refill_command


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How the rows of a fused array are made.

    Attributes:
        rows: for each fused row the row of every parent array.
        row_of_slot: fused row that answers each slot, -1 where a parent has none.
        source_frames: clip positions that each fused row summarises: those of all its parents' rows.
    """

    rows: tuple[tuple[int, ...], ...]
    row_of_slot: tuple[int, ...]
    source_frames: tuple[tuple[int, ...], ...]


def align_rows(arrays: Sequence[ArraySpec], names: Sequence[str], *, common: bool = False) -> Alignment:
    """Pair the rows of parent arrays slot by slot.

    Args:
        arrays: one per parent.
        names: of the parents, for messages.
        common: keep the slots that all serve; otherwise all must serve the same slots.

    Raises:
        StoreError: other slots, or rows of one slot that summarise different moments of the clip.
    """
    served = [[slot for slot, row in enumerate(array.row_of_slot) if row >= 0] for array in arrays]
    shared = sorted(set.intersection(*map(set, served)))
    same = len({len(array.row_of_slot) for array in arrays}) == 1
    if not same or not shared or (not common and any(slots != shared for slots in served)):
        raise StoreError(
            "these sources serve different query slots",
            found="; ".join(f"{name}: {_short(slots)}" for name, slots in zip(names, served, strict=True)),
            fix="add slots=common to fuse the slots that all serve" if shared and same else
            f"extract one of them again: {_extract_again(names)}",
        )  # fmt: skip
    rows: dict[tuple[int, ...], int] = {}
    row_of_slot = [-1] * len(arrays[0].row_of_slot)
    for slot in shared:
        chosen = tuple(array.row_of_slot[slot] for array in arrays)
        row_of_slot[slot] = rows.setdefault(chosen, len(rows))
        frames = [set(array.source_frames[row]) for array, row in zip(arrays, chosen, strict=True)]
        if not set.intersection(*frames):
            found = "; ".join(f"{name}: {_short(sorted(f))}" for name, f in zip(names, frames, strict=True))
            raise StoreError(
                f"slot {slot} means different moments of the clip",
                expected="at least one frame in common",
                found=found,
                fix="extract the one that cuts its own windows with temporal=aligned: "
                + _extract_again(names, temporal="aligned"),
            )
    frames_of = [
        tuple(sorted({f for array, row in zip(arrays, chosen, strict=True) for f in array.source_frames[row]}))
        for chosen in rows
    ]
    return Alignment(tuple(rows), tuple(row_of_slot), tuple(frames_of))


def align_clips(parents: Sequence[FeatureSource], *, common: bool = False) -> list[ClipEntry]:
    """Return the clips of a fused source, in the order of the first parent.

    Args:
        parents: the sources.
        common: keep the clips that all have; otherwise all must have the same.

    Raises:
        StoreError: parents of different datasets, or clips in different groups: their splits would differ.
        StaleError: a clip's frames have changed between the extractions.
        MissingError: a parent lacks clips that another has.
    """
    first = parents[0]
    for other in parents[1:]:
        _same_dataset(first, other)
    known = [set(parent.clips) for parent in parents]
    shared = set.intersection(*known)
    for parent, clips in zip(parents, known, strict=True):
        lacking = sorted(set().union(*known) - clips)
        if not common and lacking:
            raise MissingError(
                f"{parent.source} lacks {len(lacking)} clips that the others have",
                found=_short(lacking),
                where=parent.where,
                fix=f"{refill_command(parent)}; or fuse what all have with clips=common",
            )
    if not shared:
        raise MissingError("these sources share no clip", where=first.where)
    entries = [entry for entry in first.entries if entry.clip_id in shared]
    for other in parents[1:]:
        for entry in entries:
            _same_clip(entry, other.entry(entry.clip_id), first, other)
    return entries


def check_committed(parents: Sequence[FeatureSource], arrays: Sequence[str], clip_ids: Sequence[str]) -> None:
    """Refuse parents of which one has features of clips that another has not made yet.

    Raises:
        MissingError: there are such clips.
    """
    done = [set(parent.committed(array)) for parent, array in zip(parents, arrays, strict=True)]
    for parent, array, clips in zip(parents, arrays, done, strict=True):
        lacking = [clip_id for clip_id in clip_ids if clip_id not in clips and any(clip_id in other for other in done)]
        if lacking:
            aside = parent.quarantined()
            reasons = [f"{clip_id} was set aside: {aside[clip_id]}" for clip_id in lacking if clip_id in aside]
            raise MissingError(
                f"{parent.source} has no features in {array} for {len(lacking)} clips that the others have",
                found="; ".join([_short(lacking), *reasons[:2]]),
                where=parent.where,
                fix=f"{refill_command(parent)} fills the gaps; or fuse what all have with clips=common",
            )


def _same_dataset(first: FeatureSource, other: FeatureSource) -> None:
    found = [str(d) for d in differences({"name": first.dataset}, {"name": other.dataset})]
    one, two = first.fingerprint.get("dataset"), other.fingerprint.get("dataset")
    if one is not None and two is not None:
        found += [str(difference) for difference in differences(one, two)]
    if found and first.dataset != other.dataset:
        fix = f"extract both from one dataset: {commands.extract_source(other.source, first.dataset)}"
    else:
        fix = (
            "extract the one that is out of date from the dataset as it is: "
            f"{commands.again(refill_command(first), refill_command(other))}; "
            "then fuse with stores=<first digits of each model's store>"
        )
    if found:
        raise StoreError(
            "these sources were made from different datasets",
            expected=f"{first.source}: {first.where}",
            found=f"{other.source}: {other.where}: {'; '.join(found[:6])}",
            fix=fix,
        )


def _same_clip(one: ClipEntry, two: ClipEntry, first: FeatureSource, other: FeatureSource) -> None:
    if one.group_id != two.group_id:
        raise StoreError(
            f"clip {one.clip_id} is in different groups, so the splits of these sources differ",
            expected=f"{one.group_id or '(none)'} in {first.source}",
            found=f"{two.group_id or '(none)'} in {other.source}",
            where=other.where,
            fix=_replace_one_of(first, other),
        )
    if one.input_sha256 != two.input_sha256:
        raise StaleError(
            f"the frames of clip {one.clip_id} have changed between the two extractions",
            expected=f"{one.input_sha256[:12] or '(none)'} in {first.source}",
            found=f"{two.input_sha256[:12] or '(none)'} in {other.source}",
            where=other.where,
            fix=_replace_one_of(first, other),
        )


def _replace_one_of(*parents: FeatureSource) -> str:
    """Name both, for only the user knows which one is out of date; a store never changes its facts of a clip."""
    remakes = [f"rm -r {shlex.quote(parent.where)} && {refill_command(parent)}" for parent in parents]
    return f"make the one that is out of date again: {commands.again(*remakes)}"


def _extract_again(names: Sequence[str], temporal: str | None = None) -> str:
    return commands.again(*(commands.extract_source(name, None, temporal=temporal) for name in names if name != NOISE))


def _short(items: Sequence[object]) -> str:
    text = ", ".join(map(str, items[:8]))
    return text + (f" and {len(items) - 8} more" if len(items) > 8 else "") or "none"
