"""What `spatialprobe cache similarity` compares, how that is opened, and what it prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.similarity.samples import Layer, choose_layers
from cache.similarity.stream import Settings, similarity
from cache.similarity.table import check_out, show, write
from cache.source import FeatureSource
from configs.errors import ConfigError
from fusion.opening import open_source


@dataclass(frozen=True)
class Selection:
    """Sources and arrays as they were typed; see the options of the command.

    Attributes:
        root: artifact root.
        dataset: name of the prepared dataset, None for the only one of a source.
        a, b: `<source>` or `<source>:<array>`; without `b` the arrays of `a` are compared with each other.
        model: several of these, instead of `a` and `b`.
        stores: for each the beginning of a fingerprint or the folder of a store, "" for the only one.
    """

    root: str | None
    dataset: str | None
    a: str | None = None
    b: str | None = None
    model: Sequence[str] = ()
    stores: Sequence[str] = ()


def compare(
    selection: Selection, settings: Settings, out: str | None, workers: int = 1, cluster: str = "local"
) -> None:
    """Compare what is selected, print the table and write the file.

    Args:
        selection: which arrays.
        settings: how they are compared.
        out: a `.json` or `.parquet` file, None for none.
        workers, cluster: see `configs.jobs.run_jobs`.

    Raises:
        ConfigError: see `open_sides` and `cache.similarity.table.check_out`.
        SpatialprobeError: see `fusion.opening.open_source` and `cache.similarity.stream.similarity`.
    """
    check_out(out)
    left, right = open_sides(selection)
    found = similarity(left, right, settings, workers=workers, cluster=cluster)
    show(found)
    if out is not None:
        print(f"written: {write(found, out)}")


def open_sides(selection: Selection) -> tuple[list[Layer], list[Layer]]:
    """Return the arrays on the left and on the right; features that are not those of the dataset now are refused.

    Raises:
        ConfigError: no source, both kinds of selectors, or more stores than sources.
        MissingError: no such source or array.
        SpatialprobeError: see `fusion.opening.open_source`.
    """
    pair = [name for name in (selection.a, selection.b) if name]
    if bool(pair) == bool(selection.model) or (selection.b and not selection.a):
        given = [key for key in ("a", "b", "model") if getattr(selection, key)]
        raise ConfigError(
            "unclear what to compare" if given else "nothing to compare",
            expected="a=<source> and b=<source>, or model=<source>,<source>,...",
            found=", ".join(f"{key}=" for key in given) or "none of them",
        )
    names = pair or list(selection.model)
    if len(selection.stores) > len(names):
        raise ConfigError(
            "stores takes one entry per source",
            expected=", ".join(names),
            found=", ".join(selection.stores),
            fix="write the first digits of each source's store, in the order of the sources",
        )
    stores = [*selection.stores, *[""] * (len(names) - len(selection.stores))]
    opened: dict[tuple[str, str], FeatureSource] = {}
    sides = []
    for name, store in zip(names, stores, strict=True):
        source, colon, pattern = name.partition(":")
        if (source, store) not in opened:
            opened[source, store] = open_source(selection.root, selection.dataset, source, store or None)
        sides.append(choose_layers(opened[source, store], pattern if colon else None))
    if pair:
        return sides[0], sides[-1]
    every = [layer for side in sides for layer in side]
    return every, every
