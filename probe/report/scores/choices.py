"""Layers that were chosen on the reported clips (split scheme `paper`): intervals and tests that know of the choice."""

from __future__ import annotations

from collections.abc import Sequence

from probe.metrics.choices import difference_of_choices, interval_of_choice
from probe.metrics.statistics import Interval
from probe.report.scores.entries import Entry
from probe.report.scores.paired import Paired, common_estimates, described, untested


def chosen_on_report(entry: Entry) -> bool:
    """Return whether an entry was chosen, among several arrays, on the clips that are reported."""
    return entry.candidates > 1 and entry.setting.key["options"].get("split_scheme") == "paper"


def rivals_of(entry: Entry, group: Sequence[Entry]) -> list[Entry]:
    """Return the candidates among which an entry was chosen on the reported clips, itself included; else itself alone.

    Args:
        entry: a chosen entry.
        group: all entries of its setting.
    """
    if not chosen_on_report(entry) or entry.members:
        return [entry]
    own = (entry.source.name, entry.source.store, entry.role)
    found = [other for other in group if (other.source.name, other.source.store, other.role) == own]
    return found or [entry]


def simultaneous_interval(entry: Entry, metric: str, group: Sequence[Entry]) -> Interval:
    """Return the interval of a chosen entry that holds for all candidates at once.

    Args:
        entry: the chosen entry.
        metric: key.
        group: all entries of its setting.
    """
    score = entry.scored.scores[metric]
    rivals = rivals_of(entry, group)
    if len(rivals) < 2 or score.interval.reason or score.estimate is None or entry.clips is None:
        return score.interval
    estimates = common_estimates(rivals, metric)
    if isinstance(estimates, str):
        return score.interval
    options = {"confidence": entry.clips.confidence, "number": entry.clips.number, "seed": entry.clips.seed}
    return interval_of_choice(estimates, _place(entry, rivals), **options)  # type: ignore[arg-type]


def paired_choices(a: Entry, b: Entry, rivals_a: Sequence[Entry], rivals_b: Sequence[Entry], metric: str) -> Paired:
    """Compare two entries whose layers were chosen on the reported clips; see `difference_of_choices`.

    Args:
        a, b: the chosen entries.
        rivals_a, rivals_b: their candidates, themselves included.
        metric: key in `a.metrics`.
    """
    estimates = common_estimates([*rivals_a, *rivals_b], metric)
    if isinstance(estimates, str):
        return untested(metric, a, b, estimates)
    assert a.clips is not None
    first, second = estimates[: len(rivals_a)], estimates[len(rivals_a) :]
    ours, theirs = _place(a, rivals_a), _place(b, rivals_b)
    better = a.metrics[metric].better
    options = {"confidence": a.clips.confidence, "number": a.clips.number, "seed": a.clips.seed}
    found = difference_of_choices(first, second, ours, theirs, higher=better == "higher", **options)  # type: ignore[arg-type]
    return described(metric, (first[ours].value, second[theirs].value), found, better)


def _place(entry: Entry, rivals: Sequence[Entry]) -> int:
    return [other.id for other in rivals].index(entry.id)
