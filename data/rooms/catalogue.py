"""What belongs into which room, how often it is kept, and where it stands."""

from __future__ import annotations

from data.dataset.taxonomy import SCANNET20

ROOM_TYPES: dict[str, tuple[str, ...]] = {
    "living": (
        "sofa", "table", "chair", "chair", "bookshelf", "picture", "window", "curtain", "otherfurniture", "door",
        "cabinet",
    ),
    "bedroom": (
        "bed", "cabinet", "desk", "chair", "window", "curtain", "picture", "otherfurniture", "door", "bookshelf",
    ),
    "kitchen": (
        "counter", "refrigerator", "sink", "table", "chair", "chair", "cabinet", "window", "door", "otherfurniture",
    ),
    "bathroom": ("toilet", "sink", "bathtub", "shower curtain", "door", "cabinet", "window", "otherfurniture"),
    "office": ("desk", "desk", "chair", "chair", "bookshelf", "cabinet", "picture", "window", "door", "table"),
}  # fmt: skip
"""Room type -> categories that it starts with."""

KEEP: dict[str, float] = dict(
    zip(
        SCANNET20.names,
        (1, 1, 0.8, 0.7, 0.9, 0.7, 0.8, 0.85, 0.75, 0.55, 0.6, 0.6, 0.6, 0.45, 0.5, 0.35, 0.6, 0.6, 0.35, 0.7),
        strict=True,
    )
)
"""Probability that a category of the room's list is kept, and weight of what fills the room up. Gives the class
frequencies a head and a tail."""

WALL_MOUNTED = frozenset({"door", "window", "picture", "curtain", "shower curtain"})
AGAINST_WALL = frozenset(
    {"cabinet", "bookshelf", "refrigerator", "counter", "sofa", "bed", "toilet", "sink", "bathtub", "desk"}
)
"""Everything else stands free; chairs look for a table or desk first."""
