"""What annotators' words and objects mean: the labels table, classes, and objects as instances 1..N.

Columns of the labels table are found by name, never by number. `<scan>.aggregation.json` lists the objects that
annotators named.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from configs.files import sha256_bytes
from data.dataset.clip import Instance
from data.dataset.taxonomy import SCANNET20, Taxonomy
from data.raw.folder import parse_json

FILE_NAME = "scannetv2-labels.combined.tsv"
COLUMNS = ("id", "raw_category", "nyu40id")


@dataclass(frozen=True)
class LabelTable:
    """What the annotators' words mean.

    Attributes:
        classes: word -> class index, only words of the taxonomy.
        ids: word -> id in the label images; empty if words are matched by name alone.
        ambiguous: words that occur in several lines with different classes; the last line counts.
        sha256: digest of the table, "" without one.
    """

    classes: dict[str, int]
    ids: dict[str, int] = field(default_factory=dict)
    ambiguous: frozenset[str] = frozenset()
    sha256: str = ""

    def class_of(self, word: str) -> int:
        """Return the class index of a word, -1 outside the taxonomy."""
        return self.classes.get(word, -1)

    def knows(self, word: str) -> bool:
        """Return whether the table has the word at all; without a table every word is known."""
        return not self.ids or word in self.ids


def read_labels(path: Path, taxonomy: Taxonomy) -> LabelTable:
    """Read `scannetv2-labels.combined.tsv`.

    The 20 classes go by the column `nyu40id`, the 200 classes by `id` (protocol: tag labels).

    Args:
        path: the table; columns in any order, further ones are ignored.
        taxonomy: the classes wanted.

    Raises:
        DatasetError: the file can't be read, lacks a column, or maps no word to any class.
    """
    try:
        content = path.read_bytes()
        lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig")), delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"can't read the labels table: {error}", where=path) from error
    header = set(lines[0]) if lines else set()
    if not header >= set(COLUMNS):
        raise DatasetError(
            "the labels table lacks columns", where=path, expected=", ".join(COLUMNS),
            found=", ".join(sorted(str(name) for name in header)) or "no lines",
            fix=f"fetch {FILE_NAME} of release v2 again",
        )  # fmt: skip
    key = "nyu40id" if taxonomy.name == SCANNET20.name else "id"
    rank = {source: index for index, source in enumerate(taxonomy.source_ids)}
    classes: dict[str, int] = {}
    ids: dict[str, int] = {}
    ambiguous = set()
    for line in lines:
        word, number, source = line["raw_category"], _integer(line["id"]), _integer(line[key])
        if not word or number is None:
            continue
        index = rank.get(source, -1) if source is not None else -1
        if word in ids and index != classes.get(word, -1):
            ambiguous.add(word)
        ids[word] = number
        classes.pop(word, None)
        if index >= 0:
            classes[word] = index
    if not classes:
        raise DatasetError(
            f"the labels table maps no word to any class of {taxonomy.name}", where=path,
            expected=f"ids such as {taxonomy.source_ids[:3]} in the column {key}",
            fix=f"fetch {FILE_NAME} of release v2 again; old copies lack some mappings",
        )  # fmt: skip
    return LabelTable(classes, ids, frozenset(ambiguous), sha256_bytes(content))


def labels_by_name(taxonomy: Taxonomy) -> LabelTable:
    """Return a table in which exactly the class names are words, for annotations that come without a table."""
    return LabelTable({name: index for index, name in enumerate(taxonomy.names)})


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


@dataclass(frozen=True)
class SceneObject:
    """One entry of the aggregation: mask value (object id + 1), the annotator's word, the mesh segments."""

    value: int
    label: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class Instances:
    """The objects of a scan as instances.

    Attributes:
        items: ids 1..N in the order of the objects' numbers; the same in all clips of a scan.
        compact: (65536,) uint16 from mask value to instance id, 0 where the aggregation has no such object.
        merged: mask values of objects that repeat an earlier one, segment for segment.
    """

    items: tuple[Instance, ...]
    compact: NDArray[np.uint16]
    merged: tuple[int, ...]


def parse_aggregation(content: bytes, where: Path) -> list[SceneObject]:
    """Return the objects of a scan, by mask value.

    Args:
        content: the file; that of the release without `_vh_clean` in its name, which belongs to the 2D images.
        where: its path, for messages.

    Raises:
        DatasetError: no strict JSON, fields are missing, or an object is described twice in different ways.
    """
    value = parse_json(content, where)
    try:
        objects = [_object(entry) for entry in value["segGroups"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            "the aggregation lacks what it should have", where=where, found=str(error),
            expected="segGroups, each with objectId, segments and label", fix="fetch the file again",
        ) from error  # fmt: skip
    known: dict[int, SceneObject] = {}
    for item in objects:
        if known.setdefault(item.value, item) != item:
            raise DatasetError(
                f"the aggregation describes object {item.value - 1} twice, differently", where=where,
                found=f"{known[item.value].label!r} and {item.label!r}", fix="fetch the file again",
            )  # fmt: skip
    return [known[number] for number in sorted(known)]


def as_instances(objects: Sequence[SceneObject], labels: LabelTable, taxonomy: Taxonomy) -> Instances:
    """Number the objects 1..N and give each its class.

    Objects with the same label and the same segments are one object (in scene0217_00 all are listed twice).
    """
    first: dict[tuple[str, tuple[int, ...]], int] = {}
    items: list[Instance] = []
    compact = np.zeros(1 << 16, np.uint16)
    merged = []
    for item in objects:
        key = (item.label, item.segments)
        if item.segments and key in first:
            compact[item.value] = first[key]
            merged.append(item.value)
            continue
        number = len(items) + 1
        first[key] = number
        compact[item.value] = number
        index = labels.class_of(item.label)
        items.append(
            Instance(
                id=number, class_index=index, raw_label=item.label, is_thing=taxonomy.is_thing(index),
                source_id=item.value,
            )
        )  # fmt: skip
    return Instances(tuple(items), compact, tuple(merged))


def _object(entry: Any) -> SceneObject:
    number, label, segments = entry["objectId"], entry["label"], entry["segments"]
    if type(number) is not int or not 0 <= number < (1 << 16) - 1:
        raise ValueError(f"objectId {number!r} is not a number from 0 to 65534")
    if not isinstance(label, str) or not all(type(segment) is int for segment in segments):
        raise ValueError(f"object {number} has no text as label or no numbers as segments")
    return SceneObject(number + 1, label, tuple(segments))
