"""The control table of a pair: what its gain has to be compared with, as views and probe commands."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cache.locate import find_stores
from configs import commands
from configs.console import get_logger, print_table
from configs.errors import ConfigError, MissingError, SpatialprobeError
from configs.files import features_path, write_atomic
from configs.loader import parse_overrides
from configs.names import NOISE, BranchName, FusionName, model_kind, read_models, read_source, untrained_twin
from fusion.opening import open_parent, resolve_aliases, training_clips, view_by_name
from fusion.recipe import Choices, make_recipe, variant_values
from fusion.record import save_view
from fusion.views.grids import layer_arrays
from probe.config import ControlsConfig, read_run
from probe.results.runs import print_results
from probe.train.train import train

KINDS = ("vlm", "vgm")

log = get_logger("probe.studies.pair")


@dataclasses.dataclass
class Row:
    """One line of the table.

    Attributes:
        role: what it controls for.
        name: what a probe is to be trained on.
        layers: source -> layer, for sources that are not read whole.
        width: channels; None where it can't be made yet.
        grid: on which it is read, as rows x columns.
        arrays: names of its arrays.
        problem: why it can't be made yet.
        fix: the command that helps.
    """

    role: str
    name: FusionName
    layers: dict[str, str]
    width: int | None = None
    grid: str = ""
    arrays: list[str] = dataclasses.field(default_factory=list)
    problem: str = ""
    fix: str = ""


def controls(config: ControlsConfig) -> int:
    """Make the views of the table, write its commands down and, with `run`, train its probes. Returns the exit code.

    Raises:
        SpatialprobeError: the pair itself can't be fused, or no such variant.
    """
    name = resolve_aliases(config.root, config.dataset, read_models(config.model))
    if len(name.branches) != 2 or name.variant != "lnconcat" or NOISE in [b.source for b in name.branches]:
        raise ConfigError(
            "the control table needs a pair of models",
            found=config.model,
            fix=commands.probe("controls", model="wan-t2v-14b qwen3-vl-8b"),
        )
    for variant in config.variants:
        variant_values(variant)
    rows = table(config, name)
    ready = [row for row in rows if not row.problem]
    probes = [probe_options(config, row, task) for task in config.task for row in ready]
    script = write_script(config, name, rows, probes)
    columns = ["role", "model", "channels", "state"]
    cells = [[row.role, str(row.name), row.width, row.problem or "ready"] for row in rows]
    lacking = list(dict.fromkeys(row.fix for row in rows if row.fix))
    print_table(f"controls of {name} on {config.dataset}", columns, cells)
    if lacking:
        print("\nto complete the table, run these and then this command again:\n  " + "\n  ".join(lacking))
    print(f"\n{len(probes)} probe commands: sh {script}")
    return run_all(probes) if config.run else 0


def table(config: ControlsConfig, name: FusionName) -> list[Row]:
    """Return all rows; views are recorded, so that probes find them by name.

    All fused rows meet on the grid of the pair, so that they differ only in what they hold.

    Raises:
        SpatialprobeError: the pair itself can't be fused.
    """
    first, second = name.branches
    layers = _layers(config, name)
    singles = [_single(config, Row("single model", FusionName((branch,)), layers)) for branch in name.branches]
    pair = _on_a_common_grid(config, Row("fusion", name, layers))
    widths = [row.width or 0 for row in singles]
    total, narrow = sum(widths), min(widths) // 2
    rows = []
    for variant in config.variants:
        width = narrow if variant in ("pca", "sum") else 0
        rows.append(Row(f"fusion, {variant}", dataclasses.replace(name, variant=variant, width=width), layers))
    for keep, lose, width in ((first, second, widths[1]), (second, first, widths[0])):
        stands_in = {
            "noise": BranchName(NOISE, width),
            "position": BranchName("position", width),
        }
        if model_kind(lose.source) != "control" and not read_source(lose.source).untrained:
            stands_in["untrained"] = BranchName(untrained_twin(lose.source))
        for word, control in stands_in.items():
            branches = (keep, control) if keep is first else (control, keep)
            rows.append(Row(f"same width, {word} for {lose.source}", FusionName(branches), layers))
    pairs = partners(config, name)
    for branch, other in pairs:
        rows.append(Row(f"two {model_kind(branch.source).upper()}s", FusionName((branch, other)), layers))
    for branch in name.branches:
        kind = model_kind(branch.source)
        if kind in KINDS and branch not in [one for one, _ in pairs]:
            word = kind.upper()
            problem, fix = f"no second {word} has features", f"{commands.extract('models')} # {word}"
            rows.append(Row(f"two {word}s", FusionName((branch,)), layers, problem=problem, fix=fix))
    for branch in name.branches:
        rows.append(Row("single, fusion's width", FusionName((branch,), "random", total), layers))
        rows.append(Row("single, half width", FusionName((branch,), "pca", narrow), layers))
    return [*singles, pair, *(row if row.problem else _make(config, row, pair.grid) for row in rows)]


def partners(config: ControlsConfig, name: FusionName) -> list[tuple[BranchName, BranchName]]:
    """Return pairs of one kind: each model of the pair with the other models of its kind that have features."""
    others = config.others or sorted({path.parent.name for path in find_stores(config.root, config.dataset)})
    used = {branch.source for branch in name.branches}
    trained = [other for other in others if other not in used and not read_source(other).untrained]
    return [
        (branch, BranchName(other))
        for branch in name.branches
        for other in trained
        if model_kind(other) == model_kind(branch.source) in KINDS
    ]


def probe_options(config: ControlsConfig, row: Row, task: str) -> dict[str, str]:
    """Return key -> value of the command that probes one row for one task.

    Raises:
        ConfigError: `probe=` can't be read.
    """
    given = {"task": task, "model": str(row.name), "dataset": config.dataset, "layers": ",".join(row.arrays)}
    given |= parse_overrides(shlex.split(config.probe))
    return given | ({"root": config.root} if config.root else {})


def write_script(
    config: ControlsConfig, name: FusionName, rows: Sequence[Row], probes: Sequence[Mapping[str, str]]
) -> Path:
    """Write the commands as a shell script next to the pair's views and return its path."""
    path = features_path(config.root, config.dataset, str(name)) / "controls.sh"
    lines = ["#!/bin/sh", f"# Probes of the control table of {name} on {config.dataset}.", "set -e"]
    lines += [f"# missing: {row.name} ({row.role}): {row.fix or row.problem}" for row in rows if row.problem]
    lines += [commands.probe("train", **options) for options in probes]
    write_atomic(path, (commands.portable("\n".join(lines)) + "\n").encode())
    return path


def run_all(probes: Sequence[Mapping[str, str]]) -> int:
    """Train probes one after the other in this process; one that fails doesn't stop the others.

    All options are checked before the first one trains. If the process ends early nothing is lost: finished runs are
    found by the next call, and an interrupted one continues.

    Args:
        probes: key -> value of each one's command.

    Returns:
        1 if any failed.

    Raises:
        ConfigError: options that can't be read.
    """
    resolved = [read_run(options) for options in probes]
    failed = []
    for number, (options, run) in enumerate(zip(probes, resolved, strict=True), 1):
        command = commands.probe("train", **options)
        print(f"\n[{number}/{len(probes)}] {command}", flush=True)
        try:
            print_results(train(run), run.where.root)
        except SpatialprobeError as error:
            print(f"error: {error}", file=sys.stderr)
            failed.append(command)
    for command in failed:
        print(f"failed: {command}", file=sys.stderr)
    return 1 if failed else 0


def _single(config: ControlsConfig, row: Row) -> Row:
    """Describe a model by itself: it is probed from its own store, on its own grid.

    Raises:
        SpatialprobeError: it has no features.
    """
    branch = row.name.branches[0]
    store = open_parent(config.root, config.dataset, branch, "")
    arrays = layer_arrays(store, row.layers.get(branch.source, "all"))
    row.width = max(array.channels for array in arrays)
    row.arrays = [array.name for array in arrays]
    return row


def _on_a_common_grid(config: ControlsConfig, row: Row) -> Row:
    """Make the pair on the grid that was asked for; by default the last model's, or the first's where that can't be."""
    if config.grid != "auto":
        return _make(config, row, config.grid, required=True)
    try:
        return _make(config, row, "last", required=True)
    except MissingError as error:
        log.info("%s: the pair meets on the grid of %s instead", error.problem, row.name.branches[0].source)
        return _make(config, row, "first", required=True)


def _make(config: ControlsConfig, row: Row, grid: str, *, required: bool = False) -> Row:
    """Make and record the view of a row, or note why not."""
    try:
        recipe = make_recipe(row.name.variant, row.name.width, {"seed": config.seed})
        layers = [row.layers.get(branch.source, "all") for branch in row.name.branches]
        choices = Choices(layers=layers, grid=grid, upsample=config.upsample)
        train = training_clips(config.root, config.dataset) if recipe.fitted else []
        view = view_by_name(config.root, config.dataset, row.name, (), recipe, choices, train_clips=train)
        arrays = list(view.arrays.values())
        row.width, row.arrays = max(array.channels for array in arrays), [array.name for array in arrays]
        row.grid = f"{arrays[0].grid[0]}x{arrays[0].grid[1]}"
        save_view(config.root, view, recipe, choices, train)
    except SpatialprobeError as error:
        if required:
            raise
        row.problem, row.fix = error.problem, error.fix or ""
        sources = [branch.source for branch in row.name.branches if branch.source != NOISE]
        lacking = [source for source in sources if not find_stores(config.root, config.dataset, source)]
        if lacking:
            row.problem, row.fix = (
                f"no features of {lacking[0]}",
                commands.extract_source(lacking[0], config.dataset, root=config.root),
            )
    return row


def _layers(config: ControlsConfig, name: FusionName) -> dict[str, str]:
    """Return source -> layer; an untrained twin is read where the model is."""
    sources = [branch.source for branch in name.branches]
    if config.layers and len(config.layers) != len(sources):
        raise ConfigError("layers takes one entry per model", expected=", ".join(sources), found=config.layers)
    layers = dict(zip(sources, config.layers, strict=False))
    return layers | {untrained_twin(source): layer for source, layer in layers.items() if layer.isdecimal()}
