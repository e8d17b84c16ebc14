"""Three-way splits by group: a stable hash of the group alone decides, so adding scenes never moves old ones.

"train" trains probes, "select" chooses checkpoints, layers and noise levels, "report" is looked at once. Sources with
official splits name them per clip; `halve` cuts an official validation list into select and report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from configs.errors import DatasetError

SPLITS = ("train", "select", "report")
SALT = "spatialprobe-split-1"
SCHEMES = ("standard", "paper")


def bucket(group_id: str, salt: str = SALT) -> int:
    """Return the group's place in 0..999: BLAKE2b of salt and group id modulo 1000."""
    return int.from_bytes(hashlib.blake2b(f"{salt}/{group_id}".encode(), digest_size=8).digest(), "big") % 1000


def hash_split(group_id: str, *, select: float = 0.1, report: float = 0.1, salt: str = SALT) -> str:
    """Return the split of a group.

    Args:
        group_id: room or scene.
        select, report: shares of groups in expectation, each in [0, 1], together at most 1.
        salt: changes the whole assignment; part of a dataset's parameters.
    """
    place = bucket(group_id, salt) / 1000
    if place < report:
        return "report"
    return "select" if place < report + select else "train"


def halve(group_id: str, salt: str = SALT) -> str:
    """Return "select" or "report" for a group of an official validation list, half and half by hash."""
    return "select" if bucket(group_id, salt) < 500 else "report"


def assign_splits(
    groups: Mapping[str, str], official: Mapping[str, str | None], *, select: float, report: float, salt: str = SALT
) -> dict[str, str]:
    """Return clip id -> split.

    Args:
        groups: clip id -> group id.
        official: clip id -> official split, or None where the source has none.
        select, report, salt: for the groups without an official split.

    Raises:
        DatasetError: a group has clips in two official splits, or only some of them in one.
    """
    of_group: dict[str, tuple[str | None, str]] = {}
    for clip_id, group in groups.items():
        split = official.get(clip_id)
        if split is not None and split not in SPLITS:
            raise DatasetError(f"clip {clip_id} names an unknown split", expected=", ".join(SPLITS), found=split)
        known = of_group.setdefault(group, (split, clip_id))
        if known[0] != split:
            raise DatasetError(
                f"group {group} is cut by the official splits",
                expected=f"one split for the whole group, as {known[1]} in {known[0]}",
                found=f"{clip_id} in {split}",
                fix="put all clips of a room or scene into one split list",
            )
    return {
        clip_id: of_group[group][0] or hash_split(group, select=select, report=report, salt=salt)
        for clip_id, group in groups.items()
    }


def members(splits: Mapping[str, str], split: str, scheme: str = "standard") -> list[str]:
    """Return the sorted clip ids of a split.

    Under `scheme="paper"` the published habit holds: select and report are one validation set, used for both.

    Raises:
        DatasetError: an unknown split or scheme.
    """
    if split not in SPLITS or scheme not in SCHEMES:
        raise DatasetError(
            "unknown split or scheme", expected=f"{SPLITS} and {SCHEMES}", found=f"{split!r} and {scheme!r}"
        )
    wanted: Iterable[str] = ("select", "report") if scheme == "paper" and split != "train" else (split,)
    return sorted(clip_id for clip_id, name in splits.items() if name in wanted)
