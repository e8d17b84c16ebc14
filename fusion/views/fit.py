"""What is learnt from training clips, and only from those: channel statistics and principal directions.

Each fit is kept next to the parent's stores under the digest of everything it depends on.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cache.format.spec import ArraySpec
from cache.loading.offline import channel_statistics
from cache.source import FeatureSource
from configs import commands
from configs.commands import ANY
from configs.console import get_logger
from configs.errors import ConfigError, CorruptionError
from configs.files import features_path, write_atomic
from configs.identity import canonical_json, digest
from fusion.recipe import VERSION, Recipe
from fusion.views.ops import Normaliser, Projection, resample

if TYPE_CHECKING:
    import torch

Arrays = dict[str, npt.NDArray[Any]]


class Fitter:
    """Fits what a recipe needs, or finds it fitted.

    Args:
        root: artifact root where fits are kept; "" keeps none.
        train_clips: the training clips; no other clip is read.
        recipe: what is to be fitted.
    """

    def __init__(self, root: str | os.PathLike[str] | None, train_clips: Sequence[str], recipe: Recipe) -> None:
        self.root, self.recipe = root, recipe
        self.train = sorted(set(train_clips))

    def statistics(
        self, parent: FeatureSource, array: ArraySpec, grid: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and variance (C,) float64 of each channel over all cells of the training clips on a grid.

        At the stored grid an exact merge of what the store has kept per clip; after resampling a pass over the clips.
        """

        def fit() -> Arrays:
            if grid == array.grid:
                _, mean, variance = parent.statistics(array.name, self.train)
            else:
                _, mean, variance = channel_statistics(parent, array.name, self.train, _resampled(grid))
            return {"mean": mean, "variance": variance}

        import torch

        found = self._kept("zscore", parent, array, grid, {}, fit)
        return torch.from_numpy(found["mean"]), torch.from_numpy(found["variance"])

    def principal(
        self, parent: FeatureSource, array: ArraySpec, grid: tuple[int, int], normalise: Normaliser, width: int
    ) -> Projection:
        """Return the projection on the leading principal directions of normalised training cells.

        Scaled so that the projected channels have variance 1 on average, whatever the branch's width was.

        Raises:
            ConfigError: more directions than channels or training cells.
        """
        if width > array.channels:
            raise ConfigError(
                "a branch has fewer channels than its projection",
                expected=f"at most {array.channels}",
                found=f"width={width}",
                where=f"{parent.source}, {array.name}",
                fix="choose a smaller width, or project=random",
            )
        recipe = self.recipe
        settings = {
            "normalise": recipe.normalise, "eps": recipe.eps, "width": width,
            "rows": recipe.fit_rows, "cells": recipe.fit_cells, "seed": recipe.seed,
        }  # fmt: skip
        found = self._kept(
            "pca", parent, array, grid, settings, lambda: self.principal_axes(parent, array, grid, normalise, width)
        )
        import torch

        return Projection(torch.from_numpy(found["matrix"]), torch.from_numpy(found["offset"]))

    def principal_axes(
        self, parent: FeatureSource, array: ArraySpec, grid: tuple[int, int], normalise: Normaliser, width: int
    ) -> Arrays:
        """Return the mean and the leading directions of normalised cells of the training clips."""
        # Clip by clip into one covariance: exact whatever the order, and at these widths many times cheaper than
        # the repeated decompositions of an incremental PCA.
        total, first, second = 0, np.zeros(array.channels), np.zeros((array.channels, array.channels))
        for clip_id in self.train:
            cells = self._cells(parent, array, clip_id, grid, normalise)
            total += len(cells)
            first += cells.sum(axis=0)
            second += cells.T @ cells
        if total <= width:
            raise ConfigError(
                "too few training cells for so many principal directions",
                expected=f"more than {width}",
                found=f"{total} cells of {len(self.train)} clips",
                fix="choose a smaller width, or raise fit_rows and fit_cells",
            )
        mean = first / total
        values, vectors = np.linalg.eigh((second - total * np.outer(mean, mean)) / (total - 1))
        values, vectors = values[::-1][:width], vectors[:, ::-1][:, :width]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(width)])  # signs are arbitrary
        matrix = vectors * np.sqrt(width / max(float(values.sum()), np.finfo(np.float64).tiny))
        return {"matrix": np.ascontiguousarray(matrix, np.float32), "offset": (mean @ matrix).astype(np.float32)}

    def _cells(
        self, parent: FeatureSource, array: ArraySpec, clip_id: str, grid: tuple[int, int], normalise: Normaliser
    ) -> npt.NDArray[np.float64]:
        seed = hashlib.sha256(f"{self.recipe.seed}/{clip_id}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(seed[:8], "little"))
        reachable = sorted({row for row in array.row_of_slot if row >= 0})
        rows = sorted(generator.choice(reachable, min(self.recipe.fit_rows, len(reachable)), replace=False).tolist())
        import torch

        with torch.no_grad():
            maps = resample(parent.read([(clip_id, array.name, rows)])[0], grid)
            cells = maps.reshape(-1, array.channels)
            chosen = np.sort(generator.choice(len(cells), min(self.recipe.fit_cells, len(cells)), replace=False))
            return np.asarray(normalise(cells[torch.from_numpy(chosen)].float()).double().numpy(), np.float64)

    def _kept(
        self,
        kind: str,
        parent: FeatureSource,
        array: ArraySpec,
        grid: tuple[int, int],
        settings: Mapping[str, Any],
        fit: Callable[[], Arrays],
    ) -> Arrays:
        """Return a fit from its file, or make it and keep it."""
        if not self.train:
            raise ConfigError(
                f"{kind} is fitted on training clips, but none were given",
                fix=f"prepare the dataset ({commands.data('prepare', kind=ANY, dataset=parent.dataset)}), "
                "or give train_clips=",
            )
        identity = {
            "version": VERSION, "kind": kind, "parent": parent.fingerprint_digest, "array": array.name,
            "shape": list(array.shape),  # noise of any width has one name
            "grid": list(grid), "settings": settings, "train": [[c, parent.entry(c).input_sha256] for c in self.train],
        }  # fmt: skip
        if self.root == "":
            return fit()
        folder = features_path(self.root, parent.dataset, parent.source) / "fitted"
        path = folder / f"{kind}-{digest(identity)[:16]}.safetensors"
        if not path.is_file():
            get_logger("fusion").info(
                "fitting %s of %s %s on %d clips", kind, parent.source, array.name, len(self.train)
            )
            _save(path, fit(), canonical_json(identity))
        return _load(path, canonical_json(identity))


def _resampled(grid: tuple[int, int]) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    def apply(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        import torch

        return np.asarray(resample(torch.from_numpy(features), grid).numpy(), np.float32)

    return apply


def _save(path: Path, arrays: Arrays, identity: str) -> None:
    from safetensors.numpy import save

    data = save(arrays, {"identity": identity, "sha256": _sha256(arrays)})
    write_atomic(path, data)


def _load(path: Path, identity: str) -> Arrays:
    from safetensors import SafetensorError, safe_open

    fix = f"rm {shlex.quote(str(path))}; it is fitted again"
    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CorruptionError(f"not a readable fit: {error}", where=path, fix=fix) from None
    if metadata.get("identity") != identity or metadata.get("sha256") != _sha256(arrays):
        raise CorruptionError("this fit is not the one that was written", where=path, fix=fix)
    return arrays


def _sha256(arrays: Arrays) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(name.encode() + str(arrays[name].dtype).encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return total.hexdigest()
