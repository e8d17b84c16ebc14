"""Opening what MODEL= names: a feature store, a materialised fusion, a recorded view, or a view made on the fly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from cache.format import layout
from cache.locate import FINGERPRINT_DIGITS, find_stores, locate_store
from cache.source import FeatureSource
from cache.store import FeatureStore
from configs import commands
from configs.errors import ConfigError, DatasetError, MissingError, StaleError, StoreError
from configs.files import features_path
from configs.names import NOISE, BranchName, FusionName, parse_name, resolve_alias
from data.dataset.reader import DatasetIndex, prepared_folder
from data.dataset.splits import members
from fusion.recipe import Choices, Recipe, make_recipe
from fusion.record import ENDING, ViewRecord, check_fresh, find_views, load_record, record_path, stale
from fusion.staleness import fresh, open_store
from fusion.views.assemble import build
from fusion.views.view import FusedView

Root = str | os.PathLike[str] | None


def open_source(
    root: Root,
    dataset: str | None,
    name: str | None,
    store: str | None = None,
    *,
    train_clips: Sequence[str] | None = None,
) -> FeatureSource:
    """Open a source by name.

    A plain name opens its feature store. A joined one (`configs.names`) opens the materialised store if there is a
    complete one, else the recorded view, else a view with the variant's defaults.

    Args:
        root: artifact root.
        dataset: name of the prepared dataset; None for the only one that the first source has features of.
        name: what the user gave as `model=`; None for the only store there is.
        store: beginning of the fingerprint, or folder of a store, where several fit.
        train_clips: clips that fitted variants may look at; default: split `train` of the dataset's index. A recorded
            view has its own.

    Raises:
        ConfigError: the name can't be read.
        MissingError, StoreError: see `cache.locate.locate_store`, `fusion.views.assemble.build`.
        StaleError: the dataset has changed since the features were made; parents of different versions of a clip.
    """
    given_folder = store is not None and (Path(store).expanduser() / layout.STORE).is_file()
    if name is None or given_folder:
        return open_store(root, dataset, name, store)
    parsed = resolve_aliases(root, dataset, parse_name(name))
    if not parsed.joined:
        return open_store(root, dataset, parsed.branches[0].source, store)
    dataset = dataset or _only_dataset(root, parsed)
    path = _chosen(root, dataset, str(parsed), store)
    if path is None:
        view = view_by_name(root, dataset, parsed, train_clips=train_clips)
        if not view.fingerprint_digest.startswith(store or ""):
            raise MissingError(
                f"no fusion {parsed} with fingerprint {store}",
                found=f"{view.fingerprint_digest[:12]}, made on the fly",
                where=features_path(root, dataset),
                fix=f"{commands.fusion('fuse', model=parsed, dataset=dataset, root=root)} with that view's options",
            )
        return view
    if path.name.endswith(ENDING):
        record = load_record(path)
        view = open_record(root, record, path)
        finished = _materialised(root, features_path(root, dataset, str(parsed)) / record.short, view)
        return finished or view
    return fresh(root, FeatureStore.open(path))


def open_elsewhere(
    root: Root, dataset: str, name: str, store: str | None, *, trained_on: str, trained_store: str
) -> FeatureSource:
    """Open on another dataset the source that a probe was trained on.

    What a fusion has learnt from training clips is part of what the probe reads: it is taken from the fits that were
    kept there, and nothing is fitted on the other dataset.

    Args:
        root, dataset, name, store: see `open_source`.
        trained_on: name of the dataset of the training.
        trained_store: SHA-256 of the fingerprint of the source there.

    Raises:
        StaleError: the source there is not the one that the probe was trained on any more.
        SpatialprobeError: see `open_source`, of either dataset.
    """
    parsed = parse_name(name)
    path = record_path(root, trained_on, name, trained_store[:FINGERPRINT_DIGITS])
    record = load_record(path) if path.is_file() else None
    if not parsed.joined or not (record.recipe if record else make_recipe(parsed.variant, parsed.width)).fitted:
        return open_source(root, dataset, name, store)
    trained = open_record(root, record, path) if record else view_by_name(root, trained_on, parsed)
    if trained.fingerprint_digest != trained_store:
        raise StaleError(
            f"{name} on {trained_on} is not the source that the probe was trained on any more",
            expected=f"fingerprint {trained_store[:FINGERPRINT_DIGITS]}",
            found=f"fingerprint {trained.fingerprint_digest[:FINGERPRINT_DIGITS]}",
            where=path.parent,
            fix="train the probe again",
        )
    chosen = _chosen(root, dataset, name, store) if store else None
    stores = load_record(chosen).stores if chosen is not None and chosen.name.endswith(ENDING) else ()
    recipe, choices = (record.recipe, record.choices) if record else (None, None)
    return view_by_name(root, dataset, parsed, stores, recipe, choices, fits=trained)


def view_by_name(
    root: Root,
    dataset: str,
    name: FusionName,
    stores: Sequence[str] = (),
    recipe: Recipe | None = None,
    choices: Choices | None = None,
    *,
    train_clips: Sequence[str] | None = None,
    fits: FusedView | None = None,
) -> FusedView:
    """Make a view from the stores of its branches.

    Args:
        root, dataset, train_clips: see `open_source`.
        name: of the view.
        stores: beginnings of the branches' fingerprints, "" where there is only one store.
        recipe: default: the variant's.
        choices: default: `Choices()`.
        fits: see `fusion.views.assemble.build`.

    Raises:
        MissingError, StoreError, StaleError, ConfigError: see `fusion.views.assemble.build`.
    """
    recipe = recipe or make_recipe(name.variant, name.width)
    chosen = [*stores, *[""] * (len(name.branches) - len(stores))]
    if len(chosen) > len(name.branches):
        raise ConfigError(
            "stores takes one entry per model",
            expected=", ".join(map(str, name.branches)),
            found=",".join(stores),
            fix="write the first digits of each model's store, in the order of the models",
        )
    try:
        parents = [
            None if branch.source == NOISE else open_parent(root, dataset, branch, store)
            for branch, store in zip(name.branches, chosen, strict=True)
        ]
    except StoreError as error:  # several stores of one branch
        known = [find_stores(root, dataset, branch.source) for branch in name.branches]
        digits = [store or (paths[-1].name[:6] if paths else "0") for store, paths in zip(chosen, known, strict=True)]
        command = commands.fusion("fuse", model=name, dataset=dataset, stores=digits, root=root)
        raise StoreError(
            error.problem,
            found=error.found,
            where=error.where,
            fix=f"choose one store per model, for example {command}; `{commands.cache('diff')}` shows how they differ",
        ) from None
    train = training_clips(root, dataset, train_clips) if recipe.fitted and fits is None else []
    return build(name, parents, recipe, choices, train_clips=train, root=root, fits=fits)


def open_parent(root: Root, dataset: str, branch: BranchName, store: str) -> FeatureStore:
    """Open the store of one branch.

    Raises:
        MissingError: there is none; the message names the command that makes it. StoreError: there are several.
        StaleError: the dataset has changed since the features were made.
    """
    try:
        return open_store(root, dataset, branch.source, store or None)
    except MissingError as error:
        command = commands.extract_source(branch.source, dataset, root=root)
        raise MissingError(error.problem, found=error.found, where=error.where, fix=command) from None


def open_record(root: Root, record: ViewRecord, path: Path) -> FusedView:
    """Open a recorded view.

    Raises:
        StaleError: its parents have changed or gone.
    """
    name = parse_name(record.name)
    for branch, store in zip(name.branches, record.stores, strict=True):
        if (
            branch.source != NOISE
            and not (features_path(root, record.dataset, branch.source) / store / layout.STORE).is_file()
        ):
            there = ", ".join(p.name for p in find_stores(root, record.dataset, branch.source)) or "none"
            raise stale(record, path, f"store {branch.source}/{store} is gone; there: {there}")
    view = view_by_name(
        root, record.dataset, name, record.stores, record.recipe, record.choices,
        train_clips=record.train_clips,
    )  # fmt: skip
    check_fresh(record, view, path)
    return view


def training_clips(root: Root, dataset: str, given: Sequence[str] | None = None) -> list[str]:
    """Return the training clips of a dataset, sorted, or those given after a check; fits look at no others.

    Args:
        root: artifact root.
        dataset: name of the prepared dataset.
        given: clips that the caller trains on; None takes the split `train`.

    Raises:
        DatasetError: a given clip is held out: what is fitted on it would leak into the scores.
        MissingError: the dataset is not prepared, and none were given; or it is not finished.
        CorruptionError, VersionError: its index can't be read.
    """
    try:
        folder = prepared_folder(dataset, root)
    except MissingError as error:
        if given is not None:
            return sorted(set(given))
        fix = f"{error.fix}; or give the training clips themselves with train_clips=..."
        raise MissingError(error.problem, found=error.found, where=error.where, fix=fix) from None
    splits = {str(clip): str(split) for clip, split in DatasetIndex(folder).clips["split"].items()}
    if given is None:
        return members(splits, "train")
    held = sorted(clip_id for clip_id in set(given) if splits.get(clip_id, "train") != "train")
    if held:
        raise DatasetError(
            f"{len(held)} of the training clips are held out for validation or test",
            expected="only clips of split train",
            found=", ".join(f"{clip_id} ({splits[clip_id]})" for clip_id in held[:6]),
            where=folder,
            fix="leave train_clips out, or list clips of split train",
        )
    return sorted(set(given))


def resolve_aliases(root: Root, dataset: str | None, name: FusionName) -> FusionName:
    """Replace family aliases by the models they stand for, where no store has the alias itself for a name."""

    def has_store(source: str) -> bool:
        return bool(find_stores(root, dataset, source))

    branches = [dataclasses.replace(branch, source=resolve_alias(branch.source, has_store)) for branch in name.branches]
    return dataclasses.replace(name, branches=tuple(branches))


def _chosen(root: Root, dataset: str, name: str, store: str | None) -> Path | None:
    """Return the record or the store of a joined name, None if there is neither."""
    found = {path.name.removesuffix(ENDING): path for path in find_stores(root, dataset, name)}
    found |= {path.name.removesuffix(ENDING): path for path in find_views(root, dataset, name)}
    fitting = [path for short, path in found.items() if short.startswith(store or "")]
    if not fitting and found:
        raise MissingError(
            f"no fusion {name} with fingerprint {store}",
            found=", ".join(found),
            where=features_path(root, dataset),
            fix=f"{commands.fusion('inspect', model=name, dataset=dataset, root=root)} shows those that exist",
        )
    if len(fitting) > 1:
        raise StoreError(
            f"several fusions are called {name}",
            found=", ".join(found),
            where=features_path(root, dataset, name),
            fix="choose one with store=<first digits>; "
            f"`{commands.fusion('inspect', model=name, dataset=dataset, root=root)}` shows them",
        )
    return fitting[0] if fitting else None


def _materialised(root: Root, folder: Path, view: FusedView) -> FeatureStore | None:
    if not (folder / layout.STORE).is_file():
        return None
    store = fresh(root, FeatureStore.open(folder))
    same = store.fingerprint_digest == view.fingerprint_digest and store.clips == view.clips
    if not same or any(store.arrays.get(name) != spec for name, spec in view.arrays.items()):
        return None
    return store if not store.missing(view.arrays, quarantined=True) else None


def _only_dataset(root: Root, name: FusionName) -> str:
    sources = [branch.source for branch in name.branches if branch.source != NOISE]
    found = {path.parent.parent.name for source in sources[:1] for path in find_stores(root, None, source)}
    if len(found) == 1:
        return found.pop()
    if not found:
        locate_store(root, None, sources[0] if sources else str(name))  # raises: there is none
    raise StoreError(
        f"{sources[0]} has features of several datasets", found=", ".join(sorted(found)), fix="choose with dataset=..."
    )
