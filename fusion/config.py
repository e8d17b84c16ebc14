"""Options of `spatialprobe fusion`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from configs.cli import Layers, RootConfig
from configs.errors import ConfigError
from configs.names import DEFAULT_VARIANT, read_models
from configs.options import inline, option
from fusion.recipe import UPSAMPLING, Choices, Recipe, variant_values


@dataclasses.dataclass
class ListConfig(RootConfig):
    """Options of `ls`."""

    models: str | None = option(None, "only views of this name, such as a+b@zscore")
    dataset: str | None = option(None, "only views on this dataset")


@dataclasses.dataclass
class ViewConfig(RootConfig):
    """Which fused source is meant."""

    models: str = option(help='models to fuse, such as "wan-t2v-14b qwen3-vl-8b", or a name such as a+b@zscore')
    dataset: str = option("rooms", "name of the prepared dataset")
    store: str | None = option(None, "first digits of the fusion's fingerprint, where there are several")


@dataclasses.dataclass
class InspectConfig(ViewConfig):
    """Options of `inspect`."""

    histogram: str | None = option(None, "name of an array whose values to draw as a histogram; computes them all")


@dataclasses.dataclass
class FuseConfig(RootConfig):
    """Options of `fuse`."""

    models: str = option(help='models to fuse, such as "wan-t2v-14b qwen3-vl-8b"; each may be written model~width')
    dataset: str = option("rooms", "name of the prepared dataset")
    variant: str = option(
        DEFAULT_VARIANT, "a file in configs/fusion: concat, lnconcat, zscore, l2, pca, sum, gated, ..."
    )
    stores: list[str] = option(
        help="for each model the first digits of its store's fingerprint, where it has several", factory=list
    )
    train_clips: list[str] = option(
        help="clips that fitted variants look at; default: split train of the dataset", factory=list
    )
    materialise: bool = option(False, "also write the fused features out as a store; without it nothing is copied")
    choices: Choices = inline(Choices)
    recipe: Recipe = inline(Recipe)


@dataclasses.dataclass
class ControlsConfig(RootConfig):
    """Options of `controls`."""

    models: str = option(help='the pair, such as "wan-t2v-14b qwen3-vl-8b"')
    dataset: str = option("rooms", "name of the prepared dataset")
    others: list[str] = option(
        help="further models to join with those of their kind; default: all that have features", factory=list
    )
    variants: list[str] = option(
        help="other ways to fuse the pair", factory=lambda: ["concat", "zscore", "l2", "pca", "sum", "gated"]
    )
    task: list[str] = option(help="tasks to write the probe commands for", factory=lambda: ["instance", "geometry"])
    layers: list[str] = option(help="for each model a block, an array name, or all", factory=list)
    grid: str = option("last", "where branches meet: rows x columns, first, last, or a model's name")
    upsample: str = option("native", "see fuse", choices=UPSAMPLING)
    seed: int = option(0, "of noise and random projections", minimum=0)
    probe: str = option("", 'further options of every probe, such as "profile=cpu seeds=0,1"')
    run: bool = option(False, "also train the probes, one after the other")


def fuse_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the dataclass of `fuse` and the YAML values of the variant that the arguments name.

    Raises:
        ConfigError: unknown variant.
    """
    variant = overrides.get("variant", DEFAULT_VARIANT)
    if "models" in overrides and "@" in overrides["models"]:
        name = read_models(overrides["models"])
        if "variant" in overrides and name.variant != variant:
            raise ConfigError("two variants", found=f"{name.variant} in models=, {variant} in variant=")
        return Layers(FuseConfig, [{**variant_values(name.variant, name.width), "variant": name.variant}])
    return Layers(FuseConfig, [variant_values(variant)])
