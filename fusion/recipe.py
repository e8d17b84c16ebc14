"""What a fusion does to its branches (Recipe) and what of the parents is fused (Choices)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cache.format.spec import ITEM_BYTES
from configs.errors import ConfigError
from configs.loader import load_named, resolve
from configs.options import option

VERSION = 1
"""Version of the arithmetic; part of every fingerprint."""

NORMALISATIONS = ("none", "layernorm", "l2", "zscore")
PROJECTIONS = ("none", "pca", "random")
COMBINATIONS = ("concat", "sum", "gate")

UPSAMPLING = ("native", "always", "never")
"""Whether a map may be interpolated to a finer grid: only if it is the model's own grid, always, or never."""

SHARING = ("all", "common")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The arithmetic of a fusion: resample, normalise, project, combine, in this order and in float32."""

    normalise: str = option(
        "layernorm",
        "per cell: layernorm (no affine), l2 (length 1), none; per channel: zscore (over training clips)",
        choices=NORMALISATIONS,
    )
    eps: float = option(1e-6, "added to variances, of unit-free features", minimum=0.0)
    project: str = option(
        "none", "each branch to one width: pca (fitted on training clips) or random", choices=PROJECTIONS
    )
    width: int = option(0, "channels of each projected branch; 0 = as many as the narrowest branch has", minimum=0)
    combine: str = option(
        "concat",
        "concat; sum (of branches of one width); gate (concat, and the probe learns to weigh the branches)",
        choices=COMBINATIONS,
    )
    fit_rows: int = option(4, "pca: maps of each training clip that it is fitted on", minimum=1)
    fit_cells: int = option(512, "pca: cells of each training clip that it is fitted on", minimum=1)
    seed: int = option(0, "seed of random projections, of the cells that pca is fitted on, and of noise", minimum=0)

    @property
    def fitted(self) -> bool:
        """Whether training clips are needed."""
        return self.normalise == "zscore" or self.project == "pca"

    def identity(self) -> dict[str, Any]:
        """Return everything that changes a value; options that this recipe doesn't use are left out."""
        values: dict[str, Any] = {"version": VERSION, "normalise": self.normalise, "combine": self.combine}
        if self.normalise in ("layernorm", "zscore"):
            values["eps"] = self.eps
        if self.project != "none":
            values |= {"project": self.project, "width": self.width}
        if self.project == "pca":
            values |= {"fit_rows": self.fit_rows, "fit_cells": self.fit_cells}
        return values | {"seed": self.seed}

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ConfigError: a width without a projection, or a sum of branches that have different widths.
        """
        if self.width and self.project == "none":
            raise ConfigError("a width needs a projection", found=f"width={self.width}", fix="add project=pca")


@dataclasses.dataclass(frozen=True)
class Choices:
    """Which arrays, grid, clips and slots of the parents are fused, and how the result is stored."""

    layers: list[str] = option(
        help="one entry per model: a block, an array name, or all; default all combinations", factory=list
    )
    grid: str = option("last", "where branches meet: rows x columns, first, last, or a model's name")
    upsample: str = option(
        "native", "interpolate to a finer grid: native (only a model's own grid), always, never", choices=UPSAMPLING
    )
    clips: str = option(
        "all", "all: parents must have the same clips; common: fuse those that all have", choices=SHARING
    )
    slots: str = option(
        "all", "all: parents must have the same query slots; common: fuse those that all have", choices=SHARING
    )
    dtype: str = option(
        "auto", "dtype of fused values; auto: the widest of the parents'", choices=["auto", *ITEM_BYTES]
    )


def variant_values(variant: str, width: int = 0) -> dict[str, Any]:
    """Return the YAML values of a variant in configs/fusion.

    Raises:
        ConfigError: no such variant.
    """
    values = load_named("fusion", variant, kind="fusion")
    return {**values, "width": width} if width else values


def make_recipe(variant: str, width: int = 0, values: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a variant with some options changed.

    Raises:
        ConfigError: unknown variant or option, or options that contradict each other.
    """
    recipe = unchecked_recipe(variant, width, values)
    recipe.check()
    return recipe


def unchecked_recipe(variant: str, width: int = 0, values: Mapping[str, Any] | None = None) -> Recipe:
    """Return the same even if options contradict each other: what a record changes may be what makes sense of them.

    Raises:
        ConfigError: unknown variant or option.
    """
    return resolve(Recipe(), [variant_values(variant, width), values or {}], {})
