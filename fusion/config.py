"""Options of `spatialprobe fusion`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from configs.cli import Layers, RootConfig
from configs.errors import ConfigError
from configs.names import DEFAULT_VARIANT, read_models
from configs.options import inline, option
from fusion.recipe import Choices, Recipe, variant_values


@dataclasses.dataclass(frozen=True)
class ListConfig(RootConfig):
    """Options of `ls`."""

    model: str | None = option(None, "only views of this name, such as a+b@zscore")
    dataset: str | None = option(None, "only views on this dataset")


@dataclasses.dataclass(frozen=True)
class ViewConfig(RootConfig):
    """Selects a fused source."""

    model: str = option(help='models to fuse, such as "wan-t2v-14b qwen3-vl-8b", or a name such as a+b@zscore')
    dataset: str = option("rooms", "name of the prepared dataset")
    store: str | None = option(None, "first digits of the fusion's fingerprint, if there are several")


@dataclasses.dataclass(frozen=True)
class InspectConfig(ViewConfig):
    """Options of `inspect`."""

    histogram: str | None = option(None, "name of an array whose values to draw as a histogram; computes them all")


@dataclasses.dataclass(frozen=True)
class FuseConfig(RootConfig):
    """Options of `fuse`."""

    model: str = option(help='models to fuse, such as "wan-t2v-14b qwen3-vl-8b"; each may be written model~width')
    dataset: str = option("rooms", "name of the prepared dataset")
    variant: str = option(
        DEFAULT_VARIANT, "a file in configs/fusion: concat, lnconcat, zscore, l2, pca, sum, gated, ..."
    )
    stores: list[str] = option(
        help="for each model the first digits of its store's fingerprint, if it has several", factory=list
    )
    train_clips: list[str] = option(
        help="clips that fitted variants look at; default: split train of the dataset", factory=list
    )
    materialise: bool = option(False, "also write the fused features out as a store; without it nothing is copied")
    choices: Choices = inline(Choices)
    recipe: Recipe = inline(Recipe)


def fuse_layers(overrides: Mapping[str, str]) -> Layers[FuseConfig]:
    """Return the dataclass of `fuse` and the YAML values of the variant that the arguments name.

    Raises:
        ConfigError: unknown variant.
    """
    variant = overrides.get("variant", DEFAULT_VARIANT)
    if "model" in overrides and "@" in overrides["model"]:
        name = read_models(overrides["model"])
        if "variant" in overrides and name.variant != variant:
            raise ConfigError("two variants", found=f"{name.variant} in model=, {variant} in variant=")
        return Layers(FuseConfig(), [{**variant_values(name.variant, name.width), "variant": name.variant}])
    return Layers(FuseConfig(), [variant_values(variant)])
