"""Do the two annotations of a scan, instance images and label images, say the same of each object?

The published projection code colours by label while it stores the object, so that images made by it may merge objects;
and aggregation files have been replaced over the years. Both show here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.dataset.clip import Instance
from data.scannet.labels import LabelTable

BACKGROUND = 0


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
