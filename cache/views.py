"""Fused views that lie beside the stores: listed here, and handed to the stage that can compute them.

A view holds no features, only a record of how other stores are joined; `python -m fusion` wrote it and reads it. What
is known of it here is what a list of stores has to say: its name, its parents, and whether they are still there.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

from cache.format import layout, records
from configs.errors import CorruptionError
from configs.paths import features_path

ENDING = ".view.json"
"""Ending of a record, next to the folder that the view's features take when they are written out."""
STAGE = "fusion"
"""Who reads them."""
SIGNS = "+@~"
"""Characters that names of joined sources have and names of stores don't."""


@dataclasses.dataclass(frozen=True)
class ViewEntry:
    """One line of the list.

    Attributes:
        dataset, source, short: names of the folders and the file.
        parents: `<source>/<first digits of the fingerprint>` of every store that is read.
        gone: those that are not there any more.
    """

    dataset: str
    source: str
    short: str
    parents: tuple[str, ...]
    gone: tuple[str, ...]


def find_views(
    root: str | os.PathLike[str] | None, dataset: str | None = None, source: str | None = None
) -> list[Path]:
    """Return the records of all views below the artifact root, of one dataset or one name, sorted."""
    return sorted(features_path(root).glob(f"{dataset or '*'}/{source or '*'}/*{ENDING}"))


def read_view(path: Path) -> ViewEntry:
    """Read what a list says of a view.

    Raises:
        CorruptionError, VersionError: the record is not what was written.
    """
    values = records.parse(path.read_bytes(), str(path))
    try:
        pairs = zip(values["fingerprint"]["parents"], values["stores"], strict=True)
        parents = tuple(f"{parent['source']}/{store}" for parent, store in pairs if store)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptionError(f"this record of a view lacks something: {error!r}", where=path) from error
    gone = tuple(parent for parent in parents if not (path.parent.parent / parent / layout.STORE).is_file())
    return ViewEntry(path.parts[-3], path.parts[-2], path.name.removesuffix(ENDING), parents, gone)


def is_joined(source: str | None) -> bool:
    """Return whether a name is that of several models, or of one in another form, and so not a plain store's."""
    return source is not None and any(sign in source for sign in SIGNS)


def hand_over(verb: str, root: str | None, dataset: str | None, source: str, store: str | None, *more: str) -> int:
    """Let the stage that reads views do the work; prints its command first. Returns its exit code."""
    options = {"models": source, "dataset": dataset, "store": store, "root": root}
    words = [f"{key}={value}" for key, value in options.items() if value]
    command = ["-m", STAGE, verb, *words, *more]
    print(f"python {shlex.join(command)}", flush=True)
    return subprocess.run([sys.executable, *command], check=False).returncode
