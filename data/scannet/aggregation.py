"""`<scan>.aggregation.json`: the objects that annotators named, and how they become instances 1..N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dataset.clip import Instance
from data.dataset.taxonomy import Taxonomy
from data.raw.folder import parse_json
from data.scannet.labels import LabelTable


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
        raise ValueError(f"objectId {number!r} is no number from 0 to 65534")
    if not isinstance(label, str) or not all(type(segment) is int for segment in segments):
        raise ValueError(f"object {number} has no text as label or no numbers as segments")
    return SceneObject(number + 1, label, tuple(segments))
