"""The 2D annotation of a clip: compact instance maps, pixels per class, and what is wrong with it.

The published projection code colours by label while it stores the object, so that images made by it may merge objects;
and aggregation files have been replaced over the years. Both show where instance images and label images disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.errors import MissingError
from configs.files import sha256_bytes
from data.dataset.clip import Instance
from data.dataset.taxonomy import Taxonomy
from data.raw.folder import RawFolder, RawZip
from data.raw.images import read_mask, resize_nearest
from data.scannet.labels import Instances, LabelTable, as_instances, parse_aggregation
from data.scannet.scans import Scan

BACKGROUND = 0
Size = tuple[int, int]
KINDS = ("filt", "")
"""Endings of the zips, in order of preference: filtered projections, then raw ones."""
EMPTY_FACTS: dict[str, int | bool | None] = {
    "id_check_ok": None, "n_ids_seen": None, "n_ids_unknown": None, "n_ids_unseen": None, "n_objects_merged": None,
    "n_words_unknown": None,
}  # fmt: skip
"""Facts of a clip without annotation."""


@dataclass
class Votes:
    """Counts, frame by frame, which label ids the pixels of each mask value have."""

    counts: dict[int, dict[int, int]] = field(default_factory=dict)

    def add(self, instance: NDArray[np.uint16], label: NDArray[np.uint16]) -> None:
        """Count one frame.

        Args:
            instance: (H, W) instance ids 1..N, 0 = none.
            label: (H, W) raw label ids of the same pixels.
        """
        pairs, counts = np.unique(instance.astype(np.uint32) << 16 | label, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            if pair >> 16 != BACKGROUND:
                row = self.counts.setdefault(pair >> 16, {})
                row[pair & 0xFFFF] = row.get(pair & 0xFFFF, 0) + count

    def majority(self, instance: int) -> int | None:
        """Return the label id that most pixels of an instance have, None if none of them was seen."""
        row = self.counts.get(instance)
        return max(row, key=lambda number: (row[number], -number)) if row else None


def disagreements(instances: Sequence[Instance], labels: LabelTable, votes: Votes) -> list[str]:
    """Return one short text for each object whose pixels mostly carry another label than its own.

    With a labels table the label's id decides; words it doesn't know are skipped. Without one, two objects of the same
    name must at least have the same label id.
    """
    found = []
    of_word: dict[str, tuple[int, int]] = {}
    words = {number: word for word, number in labels.ids.items()}
    for item in instances:
        majority = votes.majority(item.id)
        if majority is None or not labels.knows(item.raw_label):
            continue
        if labels.ids:
            if majority != labels.ids[item.raw_label]:
                seen = words.get(majority, "nothing" if majority == BACKGROUND else "an unknown label")
                found.append(f"object {item.source_id} is a {item.raw_label!r} but labelled {seen!r} ({majority})")
            continue
        other, number = of_word.setdefault(item.raw_label, (item.source_id, majority))
        if number != majority:
            found.append(
                f"objects {other} and {item.source_id} are both {item.raw_label!r} but labelled {number} and {majority}"
            )
    return found


@dataclass(frozen=True)
class Request:
    """What to read of a scan's annotation.

    Attributes:
        numbers: (T,) frame numbers of the positions.
        dense: (G,) rows of `numbers` whose instance maps are kept.
        image_size: (height, width) of the colour images, and so of the masks.
        size: (height, width) wanted.
    """

    numbers: NDArray[np.int64]
    dense: NDArray[np.int64]
    image_size: Size
    size: Size


@dataclass(frozen=True)
class Annotation:
    """The annotation of one clip.

    Attributes:
        instance: (G, H, W) uint16, 0 = none, else id of an instance.
        instances: all objects of the scan, also those that the clip doesn't show.
        class_pixels: (T, C) int32 pixels of each class at every position.
        facts: numbers for the index.
        warnings: what is odd, one sentence each.
        digests: name -> SHA-256 of what was read.
    """

    instance: NDArray[np.uint16]
    instances: tuple[Instance, ...]
    class_pixels: NDArray[np.int32]
    facts: dict[str, int | bool | None]
    warnings: list[str]
    digests: dict[str, str]


def is_annotated(raw: RawFolder, scan: Scan) -> bool:
    """Return whether a scan has its aggregation and its instance images."""
    return raw.exists(_aggregation(scan)) and _zip_name(raw, scan, "instance") is not None


def annotation_files(raw: RawFolder, scan: Scan) -> list[str]:
    """Return the files of a scan's annotation: the aggregation, there or not, and the zips that are there."""
    zips = [_zip_name(raw, scan, kind) for kind in ("instance", "label")]
    return [_aggregation(scan), *(name for name in zips if name is not None)]


def read_annotation(raw: RawFolder, scan: Scan, labels: LabelTable, taxonomy: Taxonomy, want: Request) -> Annotation:
    """Read the annotation of a clip.

    Frames that repeat are read once. Instance images count at every position, label images only at the dense ones.

    Raises:
        MissingError: the aggregation, the instance images or one of their members are missing.
        DatasetError: one of them is damaged.
    """
    content = _aggregation_bytes(raw, scan)
    known = as_instances(parse_aggregation(content, raw.root / _aggregation(scan)), labels, taxonomy)
    name = _zip_name(raw, scan, "instance") or scan.inside(f"{scan.name}_2d-instance-filt.zip")
    with _archive(raw, name) as archive:
        maps, pixels, seen = _read_instances(archive, known, want)
    votes, label_zip = Votes(), _zip_name(raw, scan, "label")
    if label_zip is not None:
        with _archive(raw, label_zip) as archive:
            for place, number in enumerate(want.numbers[want.dense].tolist()):
                votes.add(maps[place], _mask(archive, "label", number, want))
    counts = np.zeros((len(want.numbers), len(taxonomy)), np.int32)
    for item in known.items:
        if item.class_index >= 0:
            counts[:, item.class_index] += pixels[:, item.id].astype(np.int32)
    conflicts = disagreements(known.items, labels, votes)
    facts, warnings = _findings(known, labels, seen, conflicts, checked=label_zip is not None)
    digests = {"aggregation": sha256_bytes(content), "instance": sha256_bytes(maps.tobytes() + counts.tobytes())}
    return Annotation(maps, known.items, counts, facts, warnings, digests)


def _read_instances(
    archive: RawZip, known: Instances, want: Request
) -> tuple[NDArray[np.uint16], NDArray[np.int64], NDArray[np.bool_]]:
    """Return compact maps (G, H, W), pixels of each instance (T, N + 1), and which mask values occur (65536,)."""
    maps = np.zeros((len(want.dense), *want.size), np.uint16)
    pixels = np.zeros((len(want.numbers), len(known.items) + 1), np.int64)
    seen = np.zeros(1 << 16, bool)
    places = {int(row): place for place, row in enumerate(want.dense)}
    compact = maps[0]
    for row, number in enumerate(want.numbers.tolist()):
        if row == 0 or number != want.numbers[row - 1]:
            values = _mask(archive, "instance", number, want)
            seen |= np.bincount(values.ravel(), minlength=1 << 16) > 0
            compact = known.compact[values]
        pixels[row] = np.bincount(compact.ravel(), minlength=len(known.items) + 1)
        if row in places:
            maps[places[row]] = compact
    return maps, pixels, seen


def _findings(
    known: Instances, labels: LabelTable, seen: NDArray[np.bool_], conflicts: list[str], *, checked: bool
) -> tuple[dict[str, int | bool | None], list[str]]:
    """Facts and warnings about ids and words; `seen` says of each mask value whether a pixel of the clip has it."""
    values = np.flatnonzero(seen[1:]) + 1
    unknown = [int(value) for value in values if known.compact[value] == 0]
    visible = {int(known.compact[value]) for value in values} - {0}
    words = sorted({item.raw_label for item in known.items if not labels.knows(item.raw_label)})
    ambiguous = sorted({item.raw_label for item in known.items} & labels.ambiguous)
    facts: dict[str, int | bool | None] = {
        "id_check_ok": not conflicts and not unknown if checked else None,
        "n_ids_seen": len(values),
        "n_ids_unknown": len(unknown),
        "n_ids_unseen": len(known.items) - len(visible),
        "n_objects_merged": len(known.merged),
        "n_words_unknown": len(words),
    }
    warnings = []
    if known.merged:
        warnings.append(f"{len(known.merged)} objects are listed twice in the aggregation and were merged")
    if unknown:
        warnings.append(f"ids in the masks that the aggregation lacks, taken as none: {_some(unknown)}")
    if conflicts:
        warnings.append(f"{len(conflicts)} objects disagree with the label images: {_some(conflicts, '; ')}")
    if words:
        warnings.append(f"words that the labels table lacks, without a class: {_some(words)}")
    if ambiguous:
        warnings.append(f"words with several classes in the labels table, the last one taken: {_some(ambiguous)}")
    return facts, warnings


def _archive(raw: RawFolder, name: str) -> RawZip:
    try:
        return RawZip(raw.path(name))
    except MissingError as error:
        raise MissingError(
            "the instance images are missing", where=error.where,
            fix="fetch them, or add annotations=optional to import such scans without",
        ) from None  # fmt: skip


def _mask(archive: RawZip, kind: str, number: int, want: Request) -> NDArray[np.uint16]:
    """One mask at the wanted size; its folder in the archive is named after the archive's kind."""
    for folder in (f"{kind}-filt", kind):
        if (name := f"{folder}/{number}.png") in archive:
            break
    else:
        name = f"{kind}-filt/{number}.png"
    values = read_mask(archive.read(name), f"{archive.file}:{name}", size=want.image_size)
    mask: NDArray[np.uint16] = resize_nearest(values, want.size)
    return mask


def _aggregation_bytes(raw: RawFolder, scan: Scan) -> bytes:
    try:
        return raw.read(_aggregation(scan))
    except MissingError as error:
        raise MissingError(
            "the aggregation is missing", where=error.where,
            fix="fetch it (the one without _vh_clean), or add annotations=optional to import such scans without",
        ) from None  # fmt: skip


def _aggregation(scan: Scan) -> str:
    return scan.inside(f"{scan.name}.aggregation.json")


def _zip_name(raw: RawFolder, scan: Scan, kind: str) -> str | None:
    names = [scan.inside(f"{scan.name}_2d-{kind}{'-' if ending else ''}{ending}.zip") for ending in KINDS]
    return next((name for name in names if raw.exists(name)), None)


def _some(items: list[int] | list[str], separator: str = ", ") -> str:
    shown = separator.join(str(item) for item in items[:5])
    return shown + (f"{separator}..." if len(items) > 5 else "")
