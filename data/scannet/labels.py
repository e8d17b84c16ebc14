"""The labels table: from an annotator's own word to ids and classes, by column name, never by column number."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import DatasetError
from configs.files import sha256_bytes
from data.dataset.taxonomy import SCANNET20, Taxonomy

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
