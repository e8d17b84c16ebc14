"""How a scout's ranking agrees with trained probes: `python -m benchmarks.scout [preset=query profile=smoke root=...]`.

On generated rooms, with sources that need no weights: pixels, positions, parts of the ground truth, and four blocks of
an untrained vision-language model. Each array is scouted, which fits on split `train` and judges on `select`, and gets
a trained probe. Then Spearman's correlation of the scout's values with those of the probes, on `select` and on the
`report` split, which the scout doesn't read. Seconds are those of the clock; probes of a task train side by side.

Without `root=` everything is made in a temporary folder, about half an hour on two cores; with it, what is there
already isn't made again.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from scipy.stats import spearmanr

from benchmarks import command
from configs.console import format_seconds, print_table
from configs.loader import resolve
from configs.names import read_source
from configs.options import option
from probe.config import sweep_layers
from probe.studies.scout.config import ScoutConfig
from probe.studies.scout.scout import scout
from probe.studies.sweep import sweep
from probe.task import load_task
from spatialprobe.command import main as spatialprobe

CONTROLS = ("pixels", "position")
PARTS = ("colour", "normal", "depth", "rays", "code", "classes", "colour-normal", "depth-rays", "code-classes")
MODEL = "internvl3-1b-tiny-random"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare."""

    preset: str = option("query", "preset of the rooms")
    profile: str = option("smoke", "profile of the probes")
    task: list[str] = option(help="which tasks", factory=lambda: ["tagging", "instance", "geometry"])
    workers: int = option(1, "processes", minimum=1)
    root: str | None = option(None, "where to work; default a temporary folder")


def main(options: Options) -> int:
    """Make what is missing, compare and print; returns the exit code."""
    if options.root is not None:
        return compare(options, options.root)
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, folder)


def compare(options: Options, root: str) -> int:
    """Make rooms and features below `root`, scout and train, and print one table per task and one of correlations."""
    dataset = f"rooms-{options.preset}"
    sources = [*CONTROLS, *(f"oracle-{part}" for part in PARTS)]
    shared = (f"dataset={dataset}", f"workers={options.workers}", f"root={root}")
    name = read_source(MODEL).model
    for words in (
        ("data", "prepare", "kind=rooms", f"preset={options.preset}", *shared),
        ("extract", "run", f"model={','.join(sources)}", *shared),
        ("extract", "run", f"model={name}", "weights=random", "size=tiny", "layers=even4", *shared),
    ):
        if code := spatialprobe(words):
            return code
    rows = [compare_task(task, [*sources, MODEL], dataset, options, root) for task in options.task]
    columns = ["task", "metrics", "arrays", "rho, select", "rho, report", "scout", "probes"]
    print_table("Spearman's correlation of the scout's values with those of trained probes", columns, rows)
    return 0


def compare_task(task: str, sources: Sequence[str], dataset: str, options: Options, root: str) -> list[Any]:
    """Scout and train for one task, print the values side by side, and return a row of correlations."""
    words = {
        "task": task, "model": ",".join(sources), "dataset": dataset, "profile": options.profile, "seeds": "0",
        "pictures": "0", "workers": str(options.workers), "root": root,
    }  # fmt: skip
    layers = sweep_layers(words)
    config = resolve(layers.start, layers.values, words)
    start = time.perf_counter()
    queries = config.runs.probe.recipe.queries  # those that the probes are judged on
    found = scout(ScoutConfig(task=task, model=list(sources), dataset=dataset, queries=queries, root=root))
    scouted = time.perf_counter() - start
    outcome = sweep(config)
    trained = {(row["source"], row["array"]): row for row in outcome.results}
    headline = load_task(task).headline
    key, metric = next(iter(found.part.METRICS.items()))
    same = 1 if metric.better == load_task(task).metrics[headline].better else -1
    rows, values = [], []
    for rank, one in enumerate(found.arrays, 1):
        row = trained[one.layer.store.source, one.layer.array.name]
        values.append((one.values[key], *(row[split][headline]["value"] for split in ("select", "report"))))
        rows.append([rank, one.layer.store.source, one.layer.array.name, *values[-1]])
    columns = ["rank", "source", "layer", f"scout {key}", f"probe {headline}, select", f"probe {headline}, report"]
    print_table(f"{task}, {dataset}, profile {options.profile}", columns, rows)
    print()
    rho = [same * float(spearmanr([v[0] for v in values], [v[i] for v in values]).statistic) for i in (1, 2)]
    seconds = sum({row["seconds"] for row in outcome.results})  # probes of one pass have the same
    return [task, f"{key}, {headline}", len(values), *rho, format_seconds(scouted), format_seconds(seconds)]


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
