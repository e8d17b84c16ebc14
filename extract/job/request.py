"""From options to what exactly is computed and where it goes: taps, arrays, fingerprint, store, clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.locate import store_path
from cache.store import FeatureStore
from configs.errors import ConfigError, MissingError, StaleError
from configs.files import artifact_root
from configs.loader import closest
from configs.names import SourceName, even_blocks, own_grid, scaled_block
from data.dataset.reader import PreparedDataset
from extract.adapter import Adapter, BackboneSpec, Tap, Variant
from extract.families import build_adapter
from extract.job.config import RunConfig, run_command, untrained
from extract.model import ModelConfig, load_model
from extract.noise import NoiseLevel, levels

CLASSES = "{classes}"
"""Stands in `prompt=` for the names of the dataset's classes, in their order."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One extraction, resolved once: plain data, which goes to the processes that do the work.

    Attributes:
        config: the options that it was resolved from.
        model: the model.
        variant: how it is run.
        source: name of the source in paths and tables; says when weights are random.
        spec: what is true of the model in this variant.
        arrays: array name -> the tap that yields it, and what the store needs to know.
        clips: the requested clips.
        dataset: name of the dataset that they come from.
        made_from: what the dataset was made from; the store keeps it to name what has changed later.
        fingerprint: everything that changes a value.
        path: folder of the store, which may not exist yet.
    """

    config: RunConfig
    model: ModelConfig
    variant: Variant
    source: str
    spec: BackboneSpec
    arrays: Mapping[str, tuple[Tap, ArraySpec]]
    clips: tuple[ClipEntry, ...]
    dataset: str
    made_from: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    path: Path

    @property
    def specs(self) -> list[ArraySpec]:
        """The arrays, as the store knows them."""
        return [spec for _, spec in self.arrays.values()]

    def taps(self, names: Sequence[str]) -> list[Tap]:
        """Return the taps that yield some arrays, each once."""
        return list(dict.fromkeys(self.arrays[name][0] for name in names))

    def adapter(self, device: str | None = None) -> Adapter:
        """Make the adapter, on another device of the same kind if one is given; loads no weights."""
        return build_adapter(self.model, replace(self.variant, device=device or self.variant.device))

    def open_dataset(self) -> PreparedDataset:
        """Open the dataset.

        Raises:
            StaleError: it has been prepared again since the request was resolved.
        """
        dataset = PreparedDataset.open(self.config.dataset, self.config.root)
        if dataset.fingerprint != self.fingerprint["dataset"]["parameters"]:
            raise StaleError(
                f"the dataset {self.dataset} was prepared again while its features were being extracted",
                where=dataset.path,
                fix=f"start again: {run_command(self.config)}",
            )
        return dataset

    def places(self, store: FeatureStore | None) -> dict[str, int]:
        """Return the numbers of the clips on the clip axis of a store, as they are or will be once it is extended."""
        known = [] if store is None else store.clips
        return {clip: number for number, clip in enumerate(dict.fromkeys([*known, *(e.clip_id for e in self.clips)]))}

    def store(self, recorded: Mapping[str, Any]) -> FeatureStore:
        """Create the store, or add the arrays and clips that it lacks; `recorded` notes the first run's machine."""
        return FeatureStore.create(
            self.path,
            source=self.source,
            dataset=self.dataset,
            fingerprint=dict(self.fingerprint),
            recorded={**recorded, "dataset": self.made_from},
            clips=self.clips,
            arrays=self.specs,
        )


def resolve_request(config: RunConfig, device: str) -> Request:
    """Resolve the options of a run on one device; loads no weights.

    Raises:
        ConfigError: an option doesn't fit the model.
        MissingError: no such dataset or clip.
        ModelError: the weights are not on this machine.
    """
    config.check()
    model = load_model(config.model)
    dataset = PreparedDataset.open(config.dataset, config.root)
    variant = replace(variant_of(config, model, device), prompt=_prompt(config, dataset))
    adapter = build_adapter(model, variant)
    if variant.prompt and build_adapter(model, replace(variant, prompt="")).identity() == adapter.identity():
        raise ConfigError(f"{model.name} reads no text", found=f"prompt={variant.prompt}", fix="leave prompt= out")
    if variant.temporal != "paper":
        usual = build_adapter(model, replace(variant, temporal="paper"))
        if usual.identity() == adapter.identity():
            raise ConfigError(f"{model.name} has only one way to cut windows", fix="leave temporal= out")
    source, arrays = source_name(model, variant), _arrays(config, model, adapter.spec, variant)
    fingerprint = {
        "adapter": dict(adapter.identity()),
        "dataset": {"name": dataset.name, "parameters": dataset.fingerprint},
        "store_dtype": next(iter(arrays.values()))[1].dtype,
        "pooling": "adaptive average in float32",
    }
    return Request(
        config=config,
        model=model,
        variant=variant,
        source=source,
        spec=adapter.spec,
        arrays=arrays,
        clips=_clips(config, dataset),
        dataset=dataset.name,
        made_from=dataset.made_from,
        fingerprint=fingerprint,
        path=store_path(config.root, dataset.name, source, fingerprint),
    )


def variant_of(config: RunConfig, model: ModelConfig, device: str) -> Variant:
    """Return how the model is to be run."""
    extra: dict[str, Any] = {}
    weights, size = config.weights, config.size
    if model.family != "oracle" and (config.groups or config.oracle_noise):
        raise ConfigError(f"groups= and oracle_noise= don't apply to {model.name}", expected="model=oracle")
    if config.preface and model.kind != "vlm":
        raise ConfigError(f"{model.name} has no line before its images", fix="leave preface= out, or use prompt=")
    if model.kind == "control":
        weights, size = "hub", "full"  # it has none; `weights=random size=tiny` is for the models of the same command
        grids = [_parse_grid(text) for text in config.grid if text not in ("paper", "native")]
        if len(grids) > 1:
            raise ConfigError(
                f"{model.name} takes one grid at a time",
                found=", ".join(config.grid),
                fix="run one command per grid; their stores share one name",
            )
        extra = {"groups": config.groups, "oracle_noise": config.oracle_noise, **({"grid": grids[0]} if grids else {})}
    return Variant(
        weights=weights, size=size, protocol=config.protocol, temporal=config.temporal,
        init_seed=config.init_seed, noise_seed=config.noise_seed, device=device, dtype=config.dtype,
        prompt=config.prompt, preface=config.preface,
        cache=str(artifact_root(config.root) / "extract-cache"), cache_latents=config.cache_latents, extra=extra,
        twin=run_command(untrained(config)),
    )  # fmt: skip


def _prompt(config: RunConfig, dataset: PreparedDataset) -> str:
    """Return the text of `prompt=` with the names of the dataset's classes in the place of `{classes}`.

    Raises:
        ConfigError: the dataset has no classes.
    """
    if CLASSES not in config.prompt:
        return config.prompt
    if not dataset.class_names:
        raise ConfigError(
            f"the dataset {dataset.name} has no classes",
            found=f"prompt={config.prompt}",
            fix=f"write the text without {CLASSES}",
        )
    return config.prompt.replace(CLASSES, ", ".join(dataset.class_names))


def source_name(model: ModelConfig, variant: Variant) -> str:
    """Return the model's name, marked where weights are random, so that no table can hide it.

    An oracle of some groups only is named after them, so that several can coexist.
    """
    if model.kind == "control":
        known = model.settings.get("groups", ())
        groups = tuple(name for name in known if name in variant.extra.get("groups", ()))
        return str(SourceName(model.name, groups=groups if len(groups) < len(known) else ()))
    return str(SourceName(model.name, tiny=variant.size == "tiny", untrained=variant.random))


def chosen_blocks(words: Sequence[str], model: ModelConfig, total: int) -> list[int]:
    """Return block numbers, increasing, of `layers=`; the paper's are scaled by depth for a tiny twin.

    Raises:
        ConfigError: not a block of the network.
    """
    blocks: set[int] = set()
    for word in words:
        if word == "paper":
            blocks |= {scaled_block(block, model.blocks, total) for block in model.paper_blocks.values()}
        elif word == "all":
            blocks |= set(range(1, total + 1))
        elif evenly := even_blocks(word, total):
            blocks |= set(evenly)
        elif word.isdigit() and 1 <= int(word) <= total:
            blocks.add(int(word))
        else:
            raise ConfigError(
                f"{model.name} has no layer {word!r}", expected=f"a block from 1 to {total}, paper, all, or even4"
            )
    return sorted(blocks)


def _arrays(
    config: RunConfig, model: ModelConfig, spec: BackboneSpec, variant: Variant
) -> dict[str, tuple[Tap, ArraySpec]]:
    names = config.tap or [next(iter(spec.taps))]
    offers = [spec.taps[name] for name in names if name in spec.taps]
    if any(word.isdigit() for word in config.layers) and offers and not any(offer.blocks for offer in offers):
        raise ConfigError(
            f"{', '.join(names)} of {model.name} has no layers", found=f"layers={','.join(config.layers)}"
        )
    if config.noise and offers and not any(offer.noisy for offer in offers):
        raise ConfigError(f"no noise is added for {', '.join(names)} of {model.name}", fix="leave noise= out")
    found: dict[str, tuple[Tap, ArraySpec]] = {}
    for name in names:
        if name not in spec.taps:
            raise ConfigError(f"{model.name} has no tap {name!r}", fix=closest(name, spec.taps))
        offer = spec.taps[name]
        blocks: list[int | None] = [*chosen_blocks(config.layers, model, offer.blocks)] if offer.blocks else [None]
        noises: list[NoiseLevel | None] = [None]
        if offer.noisy and spec.schedule is not None:
            noises = [*levels(spec.schedule, config.noise or model.noise)]
        for block in blocks:
            for noise in noises:
                tap = Tap(name=name, block=block, noise=noise)
                spec.check(tap)
                for grid in dict.fromkeys(_grid(text, offer.grid, model) for text in config.grid):
                    if grid[0] > offer.grid[0] or grid[1] > offer.grid[1]:
                        raise ConfigError(
                            f"{name} of {spec.name} has no grid as fine as {grid[0]}x{grid[1]}",
                            expected=f"at most {offer.grid[0]}x{offer.grid[1]}, which is grid=native",
                        )
                    array = _array(tap, grid, config, spec, variant)
                    found[array.name] = (tap, array)
    return found


def _array(tap: Tap, grid: tuple[int, int], config: RunConfig, spec: BackboneSpec, variant: Variant) -> ArraySpec:
    offer = spec.taps[tap.name]
    extra: dict[str, Any] = {"untrained": variant.random}
    if tap.noise is not None:
        extra |= {"timestep": tap.noise.timestep, "signal": tap.noise.signal}
    return ArraySpec(
        name="",
        tap=tap.name,
        block=tap.block,
        blocks_total=offer.blocks or None,
        noise_level=None if tap.noise is None else tap.noise.noise,
        grid=grid,
        rows=spec.rows,
        channels=offer.channels,
        dtype=spec.store_dtype if config.store_dtype == "auto" else config.store_dtype,
        row_of_slot=spec.frames.row_of_slot,
        source_frames=tuple(row.source_frames for row in spec.frames.rows),
        pooling="none" if grid == offer.grid else f"adaptive average from {offer.grid[0]}x{offer.grid[1]}",
        extra=extra,
    )


def _grid(text: str, native: tuple[int, int], model: ModelConfig) -> tuple[int, int]:
    """Return a grid; `paper` keeps the paper's ratio to the native one, so that it works for tiny twins and any tap."""
    if text == "native" or model.kind == "control":
        return native
    return own_grid(model.name, native) if text == "paper" else _parse_grid(text)


def _parse_grid(text: str) -> tuple[int, int]:
    rows, cross, columns = text.partition("x")
    if not cross or not rows.isdigit() or not columns.isdigit() or not int(rows) * int(columns):
        raise ConfigError(f"can't read grid={text}", expected="paper, native, or rows x columns such as 15x26")
    return int(rows), int(columns)


def _clips(config: RunConfig, dataset: PreparedDataset) -> tuple[ClipEntry, ...]:
    index = dataset.clips
    chosen = list(dict.fromkeys(config.clips)) or [str(name) for name in index["clip_id"]]
    unknown = [name for name in chosen if name not in index.index]
    if unknown:
        raise MissingError(
            f"no clip {unknown[0]!r} in {dataset.name}", fix=closest(unknown[0], [str(name) for name in index.index])
        )
    chosen = chosen[: config.limit] if config.limit else chosen
    rows = index.loc[chosen]
    columns = zip(rows["clip_id"], rows["group_id"], rows["clip_sha256"], strict=True)
    return tuple(ClipEntry(str(clip), str(group), str(sha)) for clip, group, sha in columns)
