"""Average precision of every class as bars."""

from __future__ import annotations

from pathlib import Path

from probe import pictures
from probe.metrics.scores import Scores


def draw_split(scores: Scores, folder: Path) -> None:
    """Write `pictures/classes.png`: AP per class, most frequent first, with the share of training clips as a mark."""
    rows = sorted(scores.classes, key=lambda row: -(row["train_rate"] or 0))
    title = "average precision per class (mark: share of training clips)"
    picture = pictures.bars(title, [(row["name"], row["ap"], row["train_rate"]) for row in rows])
    pictures.save(picture, folder / "pictures" / "classes.png")
