"""From parents and a recipe to a fused view; every check comes before the first value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs.errors import ConfigError, MissingError, StoreError
from configs.identity import differences, digest
from configs.names import NOISE, FusionName
from fusion.recipe import Choices, Recipe
from fusion.views.align import align_clips, align_rows, check_committed
from fusion.views.array import Branch, FusedArray, make_spec
from fusion.views.fit import Fitter
from fusion.views.grids import combinations, refill_command
from fusion.views.noise_source import NoiseSource
from fusion.views.ops import LayerNorm, Normaliser, Projection, Standardise, Unchanged, UnitLength, random_projection
from fusion.views.view import FusedView


def build(
    name: FusionName,
    parents: Sequence[FeatureSource | None],
    recipe: Recipe,
    choices: Choices | None = None,
    *,
    train_clips: Sequence[str] = (),
    root: str | os.PathLike[str] | None = "",
    fits: FusedView | None = None,
) -> FusedView:
    """Make a view.

    Args:
        name: of the view; its branches have their widths.
        parents: one open source per branch; None for a branch of noise.
        recipe: the arithmetic.
        choices: what of the parents is fused.
        train_clips: clips that a fitted recipe may look at; others are never read for it.
        root: artifact root where fits are kept; "" keeps none.
        fits: the same view on the dataset that probes were trained on: what it has learnt is taken from it, and nothing
            is fitted here. Only arrays that it has too are made.

    Raises:
        StoreError: parents of different datasets or splits, clashing slots, or parents that differ from those of `fits`
            in more than the dataset.
        StaleError: parents of different versions of a clip.
        MissingError: clips, layers or grids that a parent lacks.
        ConfigError: options that contradict each other.
    """
    choices = choices or Choices()
    real = [parent for parent in parents if parent is not None]
    if not real:
        raise ConfigError(
            f"{name} has no features but noise", fix="join it with a source, as in wan-t2v-14b+noise~4096"
        )
    noisy = [branch.source == NOISE for branch in name.branches]
    layers = list(choices.layers)
    if len(layers) == len(parents):
        layers = [layer for layer, is_noise in zip(layers, noisy, strict=True) if not is_noise]
    grid, chosen = combinations(real, layers, choices.grid, choices.upsample)
    sources = [
        parent or NoiseSource(real[0], chosen[0][0], grid, branch.width, recipe.seed)
        for parent, branch in zip(parents, name.branches, strict=True)
    ]
    full = [_with_noise(arrays, sources, noisy) for arrays in chosen]
    entries = align_clips(sources, common=choices.clips == "common")
    if choices.clips == "all":
        for arrays in full:
            check_committed(sources, [array.name for array in arrays], [entry.clip_id for entry in entries])
    learnt = {} if fits is None else _learnt(fits, sources)
    full = [arrays for arrays in full if fits is None or tuple(array.name for array in arrays) in learnt]
    train = _training(train_clips, entries, sources, full, choices, name) if recipe.fitted and fits is None else []
    dtype = _dtype(choices.dtype, [array for arrays in full for array in arrays])
    fitter = Fitter(root, train, recipe)
    fused = []
    for arrays in full:
        alignment = align_rows(arrays, [s.source for s in sources], common=choices.slots == "common")
        width = recipe.width or min(array.channels for array in arrays)
        branches = []
        for i, (parent, array, branch) in enumerate(zip(sources, arrays, name.branches, strict=True)):
            rows = tuple(row[i] for row in alignment.rows)
            if fits is None:
                branches.append(make_branch(parent, array, rows, grid, recipe, fitter, width, branch.width))
            else:
                known = learnt[tuple(array.name for array in arrays)][i]
                branches.append(dataclasses.replace(known, parent=parent, array=array, rows=rows, grid=grid))
        spec = make_spec(branches, alignment, grid, recipe.combine, dtype)
        fused.append(FusedArray(spec, tuple(branches), recipe.combine))
    fingerprint = fingerprint_of(name, sources, recipe, train, dtype)
    if fits is not None:
        fingerprint |= {"training_clips": fits.fingerprint["training_clips"], "fitted_on": fits.fingerprint_digest}
    return FusedView(str(name), sources, fused, entries, fingerprint)


def _learnt(fits: FusedView, sources: Sequence[FeatureSource]) -> dict[tuple[str, ...], tuple[Branch, ...]]:
    """Return the fitted branches of a view by the names of the arrays that they read.

    Raises:
        StoreError: a parent here was made in another way than there, so that its features mean something else.
    """
    for here, there in zip(sources, fits.parents, strict=True):
        made, now = ({k: v for k, v in s.fingerprint.items() if k != "dataset"} for s in (there, here))
        found = differences(made, now)
        if found:
            raise StoreError(
                f"{here.source} was made in another way on {here.dataset} than on {there.dataset}",
                found="; ".join(map(str, found[:6])),
                where=here.where,
                fix=f"extract the features of {here.dataset} with the options of {there.where}",
            )
    return {tuple(branch.array.name for branch in array.branches): array.branches for array in fits.fused.values()}


def make_branch(
    parent: FeatureSource,
    array: ArraySpec,
    rows: tuple[int, ...],
    grid: tuple[int, int],
    recipe: Recipe,
    fitter: Fitter,
    width: int,
    own_width: int = 0,
) -> Branch:
    """Return one branch, fitted if the recipe asks for it.

    Args:
        parent, array, rows, grid: see `Branch`.
        recipe: what to do.
        fitter: knows the training clips.
        width: channels of a projected branch.
        own_width: channels that this branch is brought to by a random projection whatever the recipe; 0 for none.
    """
    normalise = _normaliser(parent, array, grid, recipe, fitter)
    project: Projection | None = None
    if own_width and parent.source != NOISE:
        project = random_projection(array.channels, own_width, recipe.seed)
    elif recipe.project == "random":
        project = random_projection(array.channels, width, recipe.seed)
    elif recipe.project == "pca":
        project = fitter.principal(parent, array, grid, normalise, width)
    return Branch(parent, array, rows, grid, normalise, project)


def fingerprint_of(
    name: FusionName, sources: Sequence[FeatureSource], recipe: Recipe, train: Sequence[str], dtype: str
) -> dict[str, Any]:
    """Return everything that changes a value: the arithmetic, the parents' fingerprints in full, the training clips."""
    values: dict[str, Any] = {
        "fusion": recipe.identity(),
        "parents": [
            {"branch": str(branch), "source": source.source, "fingerprint": dict(source.fingerprint)}
            for branch, source in zip(name.branches, sources, strict=True)
        ],
        "store_dtype": dtype,
    }
    if "dataset" in sources[0].fingerprint:
        values["dataset"] = sources[0].fingerprint["dataset"]
    if recipe.fitted:
        values["training_clips"] = digest(sorted(set(train)))
    return values


def _normaliser(
    parent: FeatureSource, array: ArraySpec, grid: tuple[int, int], recipe: Recipe, fitter: Fitter
) -> Normaliser:
    if recipe.normalise == "layernorm":
        return LayerNorm(recipe.eps)
    if recipe.normalise == "l2":
        return UnitLength()
    if recipe.normalise == "zscore":
        mean, variance = fitter.statistics(parent, array, grid)
        return Standardise(mean, variance, recipe.eps)
    return Unchanged()


def _with_noise(
    arrays: Sequence[ArraySpec], sources: Sequence[FeatureSource], noisy: Sequence[bool]
) -> tuple[ArraySpec, ...]:
    rest = iter(arrays)
    return tuple(
        next(iter(source.arrays.values())) if is_noise else next(rest)
        for source, is_noise in zip(sources, noisy, strict=True)
    )


def _training(
    asked: Sequence[str],
    entries: Sequence[ClipEntry],
    sources: Sequence[FeatureSource],
    arrays: Sequence[Sequence[ArraySpec]],
    choices: Choices,
    name: FusionName,
) -> list[str]:
    """Return the training clips that every branch has features of; all of them, unless `clips=common`."""
    there = {entry.clip_id for entry in entries}
    for group in arrays:
        there.intersection_update(*(s.committed(array.name) for s, array in zip(sources, group, strict=True)))
    absent = sorted(set(asked) - there)
    if absent and choices.clips == "all":
        refills = dict.fromkeys(refill_command(source) for source in sources if source.source != NOISE)
        raise MissingError(
            f"{len(absent)} training clips have no features",
            found=", ".join(absent[:8]),
            where=str(name),
            fix=f"{'; '.join(refills)}; or fit on those that are there with clips=common",
        )
    return [clip_id for clip_id in asked if clip_id in there]


def _dtype(asked: str, arrays: Sequence[ArraySpec]) -> str:
    if asked != "auto":
        return asked
    kinds = {array.dtype for array in arrays}
    return kinds.pop() if len(kinds) == 1 else "float32"
