"""`<fp12>.view.json`: how a named view was made, so that it opens again as the same values or not at all."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.format import layout, records
from cache.locate import FINGERPRINT_DIGITS
from configs import commands
from configs.commands import ANY
from configs.errors import ConfigError, CorruptionError, SpatialprobeError, StaleError, StorageError, malformed
from configs.files import features_path, is_path_name, read_regular, write_atomic
from configs.identity import differences, digest, plain
from configs.loader import resolve
from configs.names import NOISE, parse_name
from fusion.recipe import Choices, Recipe, unchecked_recipe
from fusion.views.view import FusedView

ENDING = ".view.json"
"""Ending of a record, next to the folder that the view's features take when they are written out."""


@dataclasses.dataclass(frozen=True)
class ViewRecord:
    """One recorded view.

    Attributes:
        name: as in `configs.names`.
        dataset: name of the prepared dataset.
        stores: for each branch the folder name of its store, "" for noise.
        recipe, choices: how it was made.
        train_clips: clips that a fitted recipe has looked at.
        fingerprint: everything that changes a value, as of then.
        fingerprint_sha256: its digest.
    """

    name: str
    dataset: str
    stores: tuple[str, ...]
    recipe: Recipe
    choices: Choices
    train_clips: tuple[str, ...]
    fingerprint: Mapping[str, Any]
    fingerprint_sha256: str

    @property
    def short(self) -> str:
        """First digits of the fingerprint; name of the folder of a materialised view."""
        return self.fingerprint_sha256[:FINGERPRINT_DIGITS]


def record_path(root: str | os.PathLike[str] | None, dataset: str, name: str, short: str) -> Path:
    """Return the file of a record: next to the folder of the materialised store."""
    return features_path(root, dataset, name) / f"{short}{ENDING}"


def save_view(
    root: str | os.PathLike[str] | None, view: FusedView, recipe: Recipe, choices: Choices, train_clips: Sequence[str]
) -> Path:
    """Record an open view below the artifact root and return the record's path.

    Args:
        root: artifact root.
        view: the view.
        recipe, choices: how it was made.
        train_clips: clips that its fits have looked at; not recorded if the recipe fits nothing.

    Raises:
        StorageError: the disk refuses.
    """
    stores = tuple("" if parent.source == NOISE else Path(parent.where).name for parent in view.parents)
    clips = tuple(train_clips) if recipe.fitted else ()
    record = ViewRecord(
        view.source, view.dataset, stores, recipe, choices, clips, view.fingerprint, view.fingerprint_digest
    )
    return save_record(root, record)


def save_record(root: str | os.PathLike[str] | None, record: ViewRecord) -> Path:
    """Write a record atomically and return its path; the same record twice changes nothing.

    Raises:
        StorageError: the disk refuses.
    """
    path = record_path(root, record.dataset, record.name, record.short)
    data = records.render(plain(record))
    try:
        if not (path.is_file() and path.read_bytes() == data):
            write_atomic(path, data)
    except OSError as error:
        raise StorageError(
            f"can't write the view: {error.strerror}", where=path, fix="choose another place with root=..."
        ) from error
    return path


def load_record(path: Path) -> ViewRecord:
    """Read a record.

    Raises:
        CorruptionError, VersionError: it is not what was written.
    """
    again = f"rm {shlex.quote(str(path))}, then {commands.fusion('fuse', model=ANY)} again"
    try:
        values = records.parse(read_regular(path), str(path))
        with malformed("incomplete or malformed record of a view", path, again):
            return _record(values)
    except (CorruptionError, ConfigError) as error:
        raise CorruptionError(error.problem, found=error.found, where=path, fix=again) from None


def _record(values: Mapping[str, Any]) -> ViewRecord:
    record = ViewRecord(
        name=values["name"],
        dataset=values["dataset"],
        stores=tuple(values["stores"]),
        recipe=resolve(Recipe, [values["recipe"]], {}),
        choices=resolve(Choices, [values["choices"]], {}),
        train_clips=tuple(values["train_clips"]),
        fingerprint=values["fingerprint"],
        fingerprint_sha256=values["fingerprint_sha256"],
    )
    if len(record.stores) != len(parse_name(record.name).branches):
        raise ValueError(f"{len(record.stores)} stores for {record.name}")
    names = (record.dataset, *filter(None, record.stores), *record.train_clips)
    if strange := [name for name in names if not is_path_name(name)]:
        raise ValueError(f"not a usable name: {strange[0]!r}")
    if not all(isinstance(layer, str) for layer in record.choices.layers):
        raise TypeError("layers are texts")
    if record.fingerprint_sha256 != digest(record.fingerprint):
        raise ValueError("the fingerprint is not that of its digest")
    return record


@dataclasses.dataclass(frozen=True)
class ViewEntry:
    """What a list shows of a recorded view.

    Attributes:
        dataset, source, short: names of the folders and the file.
        parents: `<source>/<first digits of the fingerprint>` of every store that is read.
        gone: the parents that no longer exist.
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


def view_entry(path: Path) -> ViewEntry:
    """Read what a list shows of a view; its parents are not opened.

    Raises:
        CorruptionError, VersionError: see `load_record`.
    """
    record = load_record(path)
    with malformed("incomplete record of a view", path):
        pairs = zip(record.fingerprint["parents"], record.stores, strict=True)
        parents = tuple(f"{_source(parent)}/{store}" for parent, store in pairs if store)
    gone = tuple(parent for parent in parents if not (path.parent.parent / parent / layout.STORE).is_file())
    return ViewEntry(path.parts[-3], path.parts[-2], path.name.removesuffix(ENDING), parents, gone)


def _source(parent: Mapping[str, Any]) -> str:
    if not is_path_name(name := parent["source"], joined=True):
        raise ValueError(f"not the name of a source: {str(name)[:80]!r}")
    return str(name)


def check_fresh(record: ViewRecord, view: FusedView, path: Path) -> None:
    """Refuse a view whose parents are no longer those it was recorded with.

    Raises:
        StaleError: the message lists what has changed.
    """
    if view.fingerprint_digest != record.fingerprint_sha256:
        found = [str(difference) for difference in differences(record.fingerprint, view.fingerprint)]
        raise stale(record, path, "; ".join(found[:6]))


def stale(record: ViewRecord, path: Path, found: str) -> SpatialprobeError:
    """Return the error for a record whose parents have changed or gone."""
    return StaleError(
        f"the parents of {record.name} are not those it was made from",
        found=found,
        where=path,
        fix=f"{fuse_command(record)} makes it again; rm {shlex.quote(str(path))} removes the old record",
    )


def fuse_command(record: ViewRecord) -> str:
    """Return the command that makes a recorded view: its name, and the options that differ from the variant's."""
    name = parse_name(record.name)
    usual = dataclasses.asdict(unchecked_recipe(name.variant, name.width)) | dataclasses.asdict(Choices())
    chosen = dataclasses.asdict(record.recipe) | dataclasses.asdict(record.choices)
    changed = {key: "[]" if value == [] else value for key, value in chosen.items() if value != usual[key]}
    return commands.fusion("fuse", model=record.name, dataset=record.dataset, **changed)
