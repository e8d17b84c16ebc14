"""Two finished runs, or two sets of seeds, tested against each other on the same clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs import commands
from configs.console import get_logger, print_table
from configs.errors import ConfigError, CorruptionError, MissingError, StaleError
from configs.files import results_path
from configs.loader import closest
from probe.report.columns import task_columns
from probe.report.config import CompareConfig
from probe.report.runs.collect import Collected, Run, collect
from probe.report.runs.settings import Setting, differing, setting_key
from probe.report.runs.sources import source_of
from probe.report.runs.stores import store_facts
from probe.report.scores.entries import Entry
from probe.report.scores.paired import ALPHA, Paired, paired
from probe.report.scores.scoring import report_clips, score
from probe.results.repeat import train_command
from probe.results.results import find_id
from probe.task import load_task

SELECTORS = (
    "task", "model", "dataset", "store", "layers", "noise", "depth", "profile", "seed", "plan", "fraction",
    "data_budget",
)  # fmt: skip
"""Keys of a selector."""
CONFIDENCE, SEED = 0.95, 0

log = get_logger("probe.studies.compare")


@dataclass(frozen=True)
class Compared:
    """The outcome of a comparison.

    Attributes:
        a, b: the two sides.
        main: the test of the requested metric.
        others: further columns of the published table, with intervals; their p values are not shown, because picking
            the smallest of several would mislead.
    """

    a: Entry
    b: Entry
    main: Paired
    others: tuple[Paired, ...]

    @property
    def verdict(self) -> str:
        """One sentence."""
        pair = self.main
        if math.isnan(pair.p):
            return f"no test: {pair.reason or 'no p value'}"
        if pair.p >= ALPHA:
            return f"not distinguishable at p < {ALPHA:g}: this is not evidence that they are equal"
        return f"{'a' if pair.advantage > 0 else 'b'} is better (p = {pair.p:.3g})"


def compare(config: CompareConfig) -> Compared:
    """Test two runs against each other.

    Seeds of a side are averaged per clip first; intervals and p values resample rooms.

    Args:
        config: the two sides, a metric and the number of resamples.

    Raises:
        MissingError: no finished run matches, or its tables are missing.
        CorruptionError: a file of the named run is not the one that it wrote.
        StaleError: only results fit whose dataset has changed since.
        ConfigError: several different ones fit, or the two sides are not comparable; the message lists the differences.
    """
    found = collect(config.root)
    for gap in found.gaps:
        log.warning("%s", gap)
    for text in (config.a, config.b):
        damaged = [run_id for run_id in found.left_out if text and run_id.startswith(text)]
        if damaged and not any(run.run_id.startswith(text) for run in found.runs):
            raise CorruptionError(f"run {damaged[0]} can't be compared: {found.left_out[damaged[0]]}")
    sides = [_fresh_side(found, text, config.root) for text in (config.a, config.b)]
    keys = [setting_key(side[0]) for side in sides]
    wrong = differing(*keys)
    if wrong:
        raise ConfigError(
            "these runs can't be compared: only features and seeds may differ",
            expected=f"as in {sides[0][0].run_id}",
            found="; ".join(wrong[:8]) + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""),
            fix=f"{commands.probe('runs', root=config.root)} lists the runs; train the second one with the options "
            "of the first",
        )
    setting = Setting("compare", "", keys[0], tuple(run for side in sides for run in side))
    clips = report_clips(setting.runs, config.resamples, CONFIDENCE, SEED)
    pooled = load_task(setting.task).pooled
    a, b = (_entry(setting, side, clips, pooled, config.root) for side in sides)
    for entry in (a, b):
        if entry.scored.gap:
            raise MissingError(
                f"no paired test: {entry.scored.gap}",
                where=entry.runs[0].folder,
                fix=f"delete {results_path(config.root) / (entry.runs[0].run_id + '.json')} and train the run again",
            )
    metric = config.metric or load_task(setting.task).headline
    columns = [column.metric for column in task_columns(setting.task)]
    if a.score(metric) is None or metric not in (*columns, *_tested(a)):
        raise ConfigError(f"no metric {metric!r} to test", fix=closest(metric, {*columns, *_tested(a)}))
    others = tuple(paired(a, b, name) for name in columns if name != metric and a.score(name))
    return Compared(a, b, paired(a, b, metric), others)


def _fresh_side(found: Collected, text: str, root: str | None) -> list[Run]:
    """Return the runs of one side (see `find_side`).

    Raises:
        StaleError: what fits has been computed from another state of its dataset.
    """
    try:
        return find_side(found.runs, text, root)
    except MissingError:
        try:
            (run, *_) = find_side([run for run, _ in found.stale], text, root)
        except MissingError:
            pass
        else:
            raise StaleError(
                f"run {run.run_id} is stale: its dataset has changed since",
                found=next(why for known, why in found.stale if known is run),
                where=run.folder,
                fix=train_command(run.result, store=False, root=root),
            ) from None
        raise


def _tested(entry: Entry) -> set[str]:
    return {
        name
        for name, found in entry.scored.scores.items()
        if found.parts and name in entry.metrics and not entry.metrics[name].diagnostic
    }


def _entry(setting: Setting, runs: Sequence[Run], clips: Any, pooled: bool, root: str | None) -> Entry:
    first = runs[0]
    facts = {key: first.result.get(key) for key in ("array", "tap", "block", "noise_level")}
    known = store_facts(root, str(first.result["dataset"]), first.source, first.store, measure=False)
    source = source_of(first.source, known)
    return Entry(
        first.run_id, setting, source, tuple(runs), score(runs, clips, pooled=pooled), clips, facts=facts
    )  # fmt: skip


def find_side(runs: Sequence[Run], text: str, root: str | None) -> list[Run]:
    """Return the runs of one side: one run by its id, or all seeds of what a selector names.

    Args:
        runs: all finished runs.
        text: first digits of a run id, or `key=value` pairs joined by commas, with keys of SELECTORS.
        root: artifact root, for messages.

    Raises:
        MissingError: none fits, or several ids do.
        ConfigError: an unknown key, or runs that differ in more than the seed fit.
    """
    if "=" not in text:
        named = find_id([run.run_id for run in runs], text, root)
        return [run for run in runs if run.run_id == named]
    wanted = dict(part.strip().partition("=")[::2] for part in text.split(","))
    for key in wanted:
        if key not in SELECTORS:
            raise ConfigError(f"unknown key {key!r} in {text!r}", fix=closest(key, SELECTORS))
    fitting = [run for run in runs if not run.result["control"] and _fits(run, wanted)]
    if not fitting:
        raise MissingError(
            f"no finished run matches {text!r}", where=results_path(root), fix=commands.probe("runs", root=root)
        )
    kinds = {(run.source, run.store, run.array, repr(setting_key(run))) for run in fitting}
    if len(kinds) > 1:
        names = (f"{r.run_id}: {r.task} {r.source} {r.array} depth {r.result['depth']}" for r in fitting[:8])
        raise ConfigError(
            f"{text!r} matches runs that differ in more than the seed",
            found="; ".join(names),
            fix=f"be more specific, with any of {', '.join(SELECTORS)}, or give a run id",
        )
    return fitting


def _fits(run: Run, wanted: dict[str, str]) -> bool:
    result = run.result
    for key, value in wanted.items():
        if key == "layers":
            fits = value in (run.array, str(result["block"]), str(result["tap"]))
        elif key == "store":
            fits = str(result["store"]).startswith(value)
        elif key in ("noise", "fraction"):
            number = result["noise_level" if key == "noise" else key]
            fits = number is not None and value in (f"{number:g}", f"{number:.3f}", f"{number:.2f}")
        else:
            fits = str(result.get("source" if key == "model" else key)) == value
        if not fits:
            return False
    return True


def print_comparison(found: Compared) -> None:
    """Print both sides, the test and the other columns."""
    pair, interval = found.main, found.main.interval
    for name, entry in (("a", found.a), ("b", found.b)):
        seeds = ", ".join(str(run.seed) for run in entry.runs)
        ids = ", ".join(run.run_id for run in entry.runs)
        print(f"{name}: {entry.label}, {entry.facts['array']}, seeds {seeds}, runs {ids}")
    print()
    better = found.a.metrics
    columns = ["metric", "a", "b", "a - b", "low", "high", "better is"]
    rows = [
        [p.metric, p.a_value, p.b_value, p.interval.value, *_ends(p), better[p.metric].better]
        for p in (pair, *found.others)
    ]
    print_table(
        f"{found.a.task}, report split, {interval.n_clips} clips in {interval.n_groups} rooms, "
        f"{CONFIDENCE:.0%} intervals over rooms",
        columns,
        rows,
    )
    print(f"\n{pair.metric}: {found.verdict}")
    print(f"p value      {_number(pair.p)} ({pair.test}; the smallest possible here is {_number(pair.smallest)})")
    print(f"effect size  {_number(pair.effect)} standard deviations between rooms, positive: a is better")
    if not math.isnan(pair.rooms_better):
        print(f"rooms        a is better in {pair.rooms_better:.0%} of them")
    if found.a.source.store == found.b.source.store and found.a.facts["array"] == found.b.facts["array"]:
        print("note: both sides read the same features; what differs is the seed or the targets of the probe")
    if interval.n_groups < 10:
        print("note: with fewer than about ten rooms intervals are too narrow")
    if found.a.source.untrained or found.b.source.untrained:
        print("note: features of random weights say nothing about the pretrained model")


def _ends(pair: Paired) -> list[float | None]:
    return [None if math.isnan(end) else end for end in (pair.interval.low, pair.interval.high)]


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3g}"
