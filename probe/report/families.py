"""Which pairs are asked about: families of comparisons, each a question of its own with its own Holm correction."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from configs.source_name import read_source
from probe.metrics.statistics import holm
from probe.report.entries import Entry
from probe.report.paired import Paired, paired, verdict
from probe.report.sources import CEILING, FLOOR, ORIGIN

FAMILIES = ("models", "ceiling", "floor", "origin", "fusion")


@dataclass(frozen=True)
class Comparison:
    """A pair of a family.

    Attributes:
        family: one of FAMILIES.
        a, b: the entries.
        pair: how they differ by the task's main metric.
        p_holm: corrected p value; NaN without a test.
        size: tests in the family.
        verdict: see `probe.report.paired.verdict`.
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
    general = [o for o in others if o.role in (*FLOOR, *CEILING)]
    return sorted(related, key=lambda o: ORIGIN.index(o.role)) + sorted(general, key=_control_order)


def _bases(entry: Entry) -> list[str]:
    return [read_source(part).model for part in entry.source.parts]


def _control_order(entry: Entry) -> tuple[int, str]:
    return ((*FLOOR, *CEILING).index(entry.role), entry.label)


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
            if control.role in CEILING:
                pairs["ceiling"].append((control, entry))
            else:
                pairs["floor" if control.role in FLOOR else "origin"].append((entry, control))
    chosen = [entry for entry in entries if entry.chosen]
    for entry in chosen:
        if entry.source.parts:
            pairs["fusion"] += [(entry, part) for part in parts_of(entry, chosen)]
    return pairs


def parts_of(entry: Entry, chosen: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a fusion's parts: by fingerprint where the fusion knows them, else by name."""
    stores = entry.source.part_stores
    if stores:
        return [other for other in chosen if other.source.store in stores and not other.source.parts]
    return [other for other in chosen if other.source.name in entry.source.parts and other.id != entry.id]
