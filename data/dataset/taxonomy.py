"""The classes that tagging predicts and that instances belong to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Taxonomy:
    """Class names in index order with their ids in the source annotation.

    Attributes:
        name: short name, part of column and file names.
        names: one per class, index = class index.
        source_ids: id of each class in the annotation that it comes from.
        stuff: indices of classes that are surfaces rather than things.
    """

    name: str
    names: tuple[str, ...]
    source_ids: tuple[int, ...]
    stuff: frozenset[int]

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of a class name, or -1 if the taxonomy has no such class."""
        return self.names.index(name) if name in self.names else -1

    def is_thing(self, index: int) -> bool:
        """Return whether instances of a class are things; instances outside the taxonomy (-1) are not."""
        return index >= 0 and index not in self.stuff


SCANNET20 = Taxonomy(
    name="scannet20",
    names=(
        "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture",
        "counter", "desk", "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "otherfurniture",
    ),
    source_ids=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39),
    stuff=frozenset({0, 1}),
)  # fmt: skip
"""The 20 benchmark classes of ScanNet with their NYU40 ids (protocol: 20-class tagging)."""
