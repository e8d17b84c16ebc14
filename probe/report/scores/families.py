"""Which pairs are asked about: families of comparisons, each a question of its own with its own Holm correction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.identity import digest
from configs.names import read_source
from probe.metrics.comparison import holm
from probe.metrics.statistics import Interval
from probe.report.runs.sources import CEILING, FLOOR, ORIGIN, Source
from probe.report.scores.entries import Entry, counted
from probe.report.scores.paired import Paired, paired, verdict
from probe.report.scores.scoring import Score, Scored

FAMILIES = ("kinds", "models", "ceiling", "floor", "origin", "fusion", "ceiling, average", "floor, average")


@dataclass(frozen=True)
class Comparison:
    """A pair of a family.

    Attributes:
        family: one of FAMILIES.
        a, b: the entries.
        pair: how they differ by the task's main metric.
        p_holm: corrected p value; NaN without a test.
        size: tests in the family.
        verdict: see `probe.report.scores.paired.verdict`.
    """

    family: str
    a: Entry
    b: Entry
    pair: Paired
    p_holm: float
    size: int
    verdict: str


def subjects(entries: Sequence[Entry]) -> list[Entry]:
    """Return the chosen entries that a setting is about: models and fusions of them.

    An untrained twin stands in for its model where the model itself was not probed.
    """
    chosen = [entry for entry in entries if entry.chosen]
    found = [entry for entry in chosen if entry.subject]
    bases = {entry.source.base for entry in found}
    stand_in = [
        entry for entry in chosen if entry.role == "untrained twin" and entry.source.base not in bases
    ]  # fmt: skip
    return found + stand_in


def controls_of(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """Return the chosen entries that a subject is compared with, one line each in table `controls`."""
    others = [other for other in entries if other.chosen and other.id != entry.id]
    own = {entry.source.base} if entry.source.base else set(_bases(entry))
    related = [o for o in others if o.role in ORIGIN and o.source.base in own]
    general = [o for o in others if o.role in FLOOR or is_ceiling(o)]
    return sorted(related, key=lambda o: ORIGIN.index(o.role)) + sorted(general, key=_control_order)


def is_ceiling(entry: Entry) -> bool:
    """Return whether an entry reads ground truth: an oracle, a partial one, or a fusion of such."""
    return entry.role in CEILING or entry.source.all_oracles


def _bases(entry: Entry) -> list[str]:
    return [read_source(part).model for part in entry.source.parts]


def _control_order(entry: Entry) -> tuple[int, str]:
    roles = (*FLOOR, *CEILING)
    return (roles.index(entry.role) if entry.role in roles else len(roles), entry.label)


def comparisons(entries: Sequence[Entry]) -> list[Comparison]:
    """Return all comparisons of a setting by its main metric, corrected inside each family."""
    found: list[Comparison] = []
    for family, pairs in _pairs(entries).items():
        results = [(a, b, paired(a, b, a.main_metric)) for a, b in pairs]
        same = [a.source.store == b.source.store and a.facts["array"] == b.facts["array"] for a, b, _ in results]
        tested = {str(i): pair.p for i, (_, _, pair) in enumerate(results) if not same[i]}
        corrected = holm(tested)
        size = sum(not math.isnan(p) for p in tested.values())
        for i, (a, b, pair) in enumerate(results):
            p = corrected.get(str(i), math.nan)
            found.append(Comparison(family, a, b, pair, p, size, verdict(pair, p, same[i])))
    return found


def _pairs(entries: Sequence[Entry]) -> dict[str, list[tuple[Entry, Entry]]]:
    about = subjects(entries)
    pairs: dict[str, list[tuple[Entry, Entry]]] = {family: [] for family in FAMILIES}
    pairs["models"] = list(itertools.combinations(about, 2))
    for entry in about:
        for control in controls_of(entry, entries):
            if is_ceiling(control):
                pairs["ceiling"].append((control, entry))
            else:
                pairs["floor" if control.role in FLOOR else "origin"].append((entry, control))
    chosen = [entry for entry in entries if entry.chosen]
    for entry in chosen:
        if entry.source.parts:
            pairs["fusion"] += [(entry, part) for part in parts_of(entry, chosen)]
    pairs["kinds"] = _kinds(about)
    together = average_of(about)
    if together is not None:
        pairs["ceiling, average"] = [(top, together) for top in tops(chosen)]
        pairs["floor, average"] = [(together, entry) for entry in chosen if entry.role in FLOOR]
    return pairs


def _kinds(about: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return vision-language against video generation models, each kind averaged; trained ones where both have some."""
    for trained in (True, False):
        sides, several = [], False
        for kind, word in (("vlm", "vision-language model"), ("vgm", "video generation model")):
            some = [e for e in about if e.source.kind == kind and not (trained and e.source.untrained)]
            side = some[0] if len(some) == 1 else average_of(some, word)
            several |= len(some) > 1
            if side is not None:
                sides.append(side)
        if len(sides) == 2 and several:  # one of each is a pair of models
            return [(sides[0], sides[1])]
    return []


def tops(chosen: Sequence[Entry]) -> list[Entry]:
    """Return the oracles; where there is no whole one, fusions of partial ones."""
    return [entry for entry in chosen if entry.role == "oracle"] or [e for e in chosen if e.source.all_oracles]


def average_of(entries: Sequence[Entry], word: str = "model") -> Entry | None:
    """Return two subjects or more as one: the mean of their main metric, clip by clip or resample by resample.

    One question about all models together needs no correction for their number, so it can be answered with fewer
    rooms. None where some of them lack values.

    Args:
        entries: of one setting.
        word: what they are, in the singular.
    """
    if len(entries) < 2:
        return None
    first = entries[0]
    scores = [score for entry in entries if (score := entry.score(first.main_metric)) is not None]
    samples = [score.samples for score in scores]
    if len(scores) < len(entries) or not all(len(s) for s in samples) or any(e.scored.gap for e in entries):
        return None
    per_clip = [score.per_clip for score in scores]
    value = float(np.mean([score.interval.value for score in scores]))
    interval = Interval(value, math.nan, math.nan, scores[0].interval.n_clips, scores[0].interval.n_groups, 0)
    mean = np.mean(per_clip, axis=0) if all(len(p) for p in per_clip) else np.zeros(0)
    score = Score(interval, (), 0, np.mean(samples, axis=0), mean)
    untrained = all(entry.source.untrained for entry in entries)
    word = f"{'untrained ' if untrained else ''}{word}"
    parts = [[e for e in entries if bool(e.source.parts) is fused] for fused in (False, True)]
    kinds = [counted(some, w) for some, w in zip(parts, (word, "fusion"), strict=True) if some]
    label = f"the average of {' and '.join(kinds)}"
    source = Source(label, "", label, "unknown", "average", untrained=any(e.source.untrained for e in entries))
    name = digest([entry.id for entry in entries])[:10]
    runs = tuple(run for entry in entries for run in entry.runs)
    scored = Scored({first.main_metric: score})
    return replace(first, id=name, source=source, runs=runs, scored=scored, facts={"tap": "", "array": label})


def parts_of(entry: Entry, chosen: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a fusion's parts: by fingerprint where the fusion knows them, else by name."""
    stores = entry.source.part_stores
    if stores:
        return [other for other in chosen if other.source.store in stores and not other.source.parts]
    return [other for other in chosen if other.source.name in entry.source.parts and other.id != entry.id]
