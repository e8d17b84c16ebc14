"""`spatialprobe data prepare|emit|inspect|verify|preview`: make prepared datasets and look at them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

if __name__ == "__main__":  # files of the working directory don't take the place of the project's
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs import commands
from configs.cli import Layers, RootConfig, Verb, main
from configs.commands import STAGES
from configs.console import format_seconds
from configs.errors import ConfigError
from configs.files import artifact_root, dataset_path
from configs.loader import closest
from configs.options import option
from data.emit.config import EmitConfig
from data.prepare.config import Kind, PrepareConfig


@dataclasses.dataclass(frozen=True)
class InspectConfig(RootConfig):
    """Options of `inspect`."""

    dataset: str = option("rooms", "name of the prepared dataset")


@dataclasses.dataclass(frozen=True)
class VerifyConfig(InspectConfig):
    """Options of `verify`."""

    workers: int = option(0, "processes; 0 = one per core", minimum=0)
    pairs: int = option(6, "neighbouring frame pairs per clip to reproject", minimum=1)


@dataclasses.dataclass(frozen=True)
class PreviewConfig(InspectConfig):
    """Options of `preview`."""

    clips: list[str] = option(help="clip ids; default the first `count`", factory=list)
    count: int = option(4, "how many clips to draw when none is named", minimum=1)
    out: str | None = option(None, "folder of the PNG files; default <artifacts>/previews/<dataset>")


def _rooms() -> Kind:
    from data.rooms.kind import KIND

    return KIND


def _scannet() -> Kind:
    from data.scannet.kind import KIND

    return KIND


def _dl3dv() -> Kind:
    from data.dl3dv.kind import KIND

    return KIND


def _video() -> Kind:
    from data.video.kind import KIND

    return KIND


KINDS: dict[str, Callable[[], Kind]] = {"rooms": _rooms, "scannet": _scannet, "dl3dv": _dl3dv, "video": _video}
"""Name of each kind and the function that loads it."""


def load_kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises:
        ConfigError: there is no such kind.
    """
    if name not in KINDS:
        raise ConfigError(f"unknown kind of dataset {name!r}", fix=closest(name, KINDS))
    return KINDS[name]()


def _prepare_layers(overrides: Mapping[str, str]) -> Layers[PrepareConfig]:
    return load_kind(overrides.get("kind", "rooms")).layers(overrides)


def _emit_layers(overrides: Mapping[str, str]) -> Layers[EmitConfig]:
    from data.emit.command import emit_layers

    return emit_layers(overrides)


def _emit(config: EmitConfig) -> int:
    from data.emit.command import run_emit

    return run_emit(config)


def _prepare(config: PrepareConfig) -> int:
    from data.dataset.layout import STATUS_FILE
    from data.prepare.forecast import forecast
    from data.prepare.prepare import prepare
    from data.prepare.status import print_statuses

    kind = load_kind(config.kind)
    source = config.clip_source()
    name = source.info.name
    path = dataset_path(config.root, name)
    if config.dry_run:
        tried = forecast(source, path, workers=config.workers, select=config.select, report=config.report)
        return 1 if any(status.status == "failed" for status in tried) else 0
    summary = prepare(
        source,
        path,
        plans=config.plans,
        select=config.select,
        report=config.report,
        workers=config.workers,
        allowed_failures=config.allowed_failures,
        cluster=config.cluster,
        status_file=path / STATUS_FILE,
    )
    kind.finish(path)
    print_statuses(summary.statuses)
    refused = f", {len(summary.refused)} refused" if summary.refused else ""
    print(f"{name}: {summary.made} clips made, {summary.kept} already there, {len(summary.failed)} failed", end="")
    print(f"{refused}, {format_seconds(summary.seconds)}\n{path}")
    print(f"next: {commands.data('inspect', dataset=name, root=config.root)}")
    return 0


def _inspect(config: InspectConfig) -> int:
    from data.dataset.reader import PreparedDataset
    from data.look.inspect import inspect

    dataset = PreparedDataset.open(config.dataset, config.root)
    inspect(dataset)
    if dataset.identity["kind"] in KINDS:
        load_kind(dataset.identity["kind"]).show(dataset.path)
    return 0


def _verify(config: VerifyConfig) -> int:
    from data.dataset.reader import PreparedDataset
    from data.look.verify import verify

    problems = verify(PreparedDataset.open(config.dataset, config.root), workers=config.workers, pairs=config.pairs)
    return 1 if problems else 0


def _preview(config: PreviewConfig) -> int:
    from data.dataset.reader import PreparedDataset
    from data.look.preview import write_previews

    dataset = PreparedDataset.open(config.dataset, config.root)
    chosen = config.clips or list(dataset.clips["clip_id"])[: config.count]
    folder = Path(config.out) if config.out else artifact_root(config.root) / "previews" / dataset.name
    for path in write_previews(dataset, chosen, folder):
        print(path)
    return 0


VERBS = (
    Verb(
        "prepare",
        "Make a prepared dataset, or finish an interrupted one.",
        _prepare_layers,
        _prepare,
        writes=True,
        selects={"kind": lambda: list(KINDS)},
    ),
    Verb(
        "emit",
        "Write the rooms in the raw layout of ScanNet or DL3DV.",
        _emit_layers,
        _emit,
        selects={"format": lambda: ["dl3dv", "scannet"]},
    ),
    Verb("inspect", "Print what is in a prepared dataset.", InspectConfig, _inspect),
    Verb("verify", "Re-hash every file and re-check the geometry by reprojection.", VerifyConfig, _verify),
    Verb("preview", "Draw contact sheets: frames, depth, instances, camera path.", PreviewConfig, _preview),
)

if __name__ == "__main__":
    sys.exit(main("data", STAGES["data"], VERBS))
