"""Which pairs are asked about: two families that a study concludes from, and exploratory ones.

Primary: vision-language against video generation models, models as random as rooms, Holm over the tasks of a board.
Twins: every model against its untrained twin, corrected by the largest statistic of all (max-t) over the board. All
else is exploratory: corrected by Holm inside its family and task, and without a verdict.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.identity import digest
from configs.names import NOISE, model_kind, read_source
from probe.metrics.comparison import compare_with_zero, contrast_of_kinds, holm, max_t
from probe.metrics.statistics import Estimate, contrast
from probe.report.runs.sources import CEILING, FLOOR, ORIGIN, Source
from probe.report.scores.choices import chosen_on_report, paired_choices, rivals_of
from probe.report.scores.entries import Entry, counted
from probe.report.scores.paired import Paired, common_estimates, described, paired, untested, verdict
from probe.report.scores.scoring import Score, Scored

PRIMARY = ("kinds", "twins")
"""Families that a study concludes from."""
FAMILIES = (
    *PRIMARY, "models", "ceiling", "floor", "origin", "fusion", "same width", "ceiling, average", "floor, average",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A pair of a family.

    Attributes:
        family: one of FAMILIES.
        a, b: the entries.
        pair: how they differ by the task's main metric.
        p_corrected: corrected p value; NaN without a test.
        size: tests in the family.
        verdict: see `probe.report.scores.paired.verdict`.
    """

    family: str
    a: Entry
    b: Entry
    pair: Paired
    p_corrected: float
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


def comparisons(groups: Sequence[Sequence[Entry]]) -> list[Comparison]:
    """Return all comparisons of a board by the main metrics of its tasks, corrected.

    Args:
        groups: the entries of each task's main setting.
    """
    asked: list[_Asked] = []
    for entries in groups:
        for family, pairs in _pairs(entries).items():
            asked += [_Asked(family, a, b, _paired(family, a, b, entries)) for a, b in pairs]
    found = []
    families: dict[tuple[str, str], list[_Asked]] = {}
    for one in asked:
        place = "" if one.family in PRIMARY else one.a.setting.id
        families.setdefault((one.family, place), []).append(one)
    for (family, _), some in families.items():
        tested = [one for one in some if not one.same and not math.isnan(one.pair.p)]
        corrected = dict(zip(map(id, tested), _corrected(family, tested), strict=True))
        for one in some:
            p = corrected.get(id(one), math.nan)
            told = verdict(one.pair, p, one.same, exploratory=family not in PRIMARY)
            found.append(Comparison(family, one.a, one.b, one.pair, p, len(tested), told))
    return found


@dataclass(frozen=True)
class _Asked:
    family: str
    a: Entry
    b: Entry
    pair: Paired

    @property
    def same(self) -> bool:
        """Whether both sides read the same features."""
        return self.a.source.store == self.b.source.store and self.a.facts["array"] == self.b.facts["array"]


def _corrected(family: str, tested: Sequence[_Asked]) -> list[float]:
    if family == "twins" and tested:
        differences = []
        for one in tested:
            estimates = common_estimates([one.a, one.b], one.pair.metric)
            assert not isinstance(estimates, str)
            differences.append(contrast((1, -1), estimates))
        # a test that a single comparison fails, by sign flips for example, is not passed by many
        return [max(float(p), one.pair.p) for p, one in zip(max_t(differences), tested, strict=True)]
    return list(holm({str(i): one.pair.p for i, one in enumerate(tested)}).values())


def _paired(family: str, a: Entry, b: Entry, entries: Sequence[Entry]) -> Paired:
    metric = a.main_metric
    if family == "kinds":
        return _of_kinds(a, b, metric)
    rivals = [rivals_of(entry, entries) for entry in (a, b)]
    if max(map(len, rivals)) > 1:
        return paired_choices(a, b, rivals[0], rivals[1], metric)
    return paired(a, b, metric)


def _of_kinds(a: Entry, b: Entry, metric: str) -> Paired:
    if min(len(a.members), len(b.members)) < 2:
        return untested(metric, a, b, "one model of a kind says nothing about the kind")
    if any(chosen_on_report(entry) for entry in (*a.members, *b.members)):
        return untested(metric, a, b, "layers were chosen on the reported clips")
    estimates = common_estimates([*a.members, *b.members], metric)
    if isinstance(estimates, str):
        return untested(metric, a, b, estimates)
    assert a.clips is not None
    sides = estimates[: len(a.members)], estimates[len(a.members) :]
    means = tuple(float(np.mean([estimate.value for estimate in side])) for side in sides)
    options = {"confidence": a.clips.confidence, "number": a.clips.number, "seed": a.clips.seed}
    found = compare_with_zero(contrast_of_kinds(*sides), **options)  # type: ignore[arg-type]
    return described(metric, (means[0], means[1]), found, a.metrics[metric].better)


def _pairs(entries: Sequence[Entry]) -> dict[str, list[tuple[Entry, Entry]]]:
    about = subjects(entries)
    pairs: dict[str, list[tuple[Entry, Entry]]] = {family: [] for family in FAMILIES}
    pairs["models"] = list(itertools.combinations(about, 2))
    for entry in about:
        for control in controls_of(entry, entries):
            if is_ceiling(control):
                pairs["ceiling"].append((control, entry))
            elif control.role == "untrained twin" and not entry.source.parts:
                pairs["twins"].append((entry, control))
            else:
                pairs["floor" if control.role in FLOOR else "origin"].append((entry, control))
    chosen = [entry for entry in entries if entry.chosen]
    for entry in chosen:
        if entry.source.parts:
            pairs["fusion"] += [(entry, part) for part in parts_of(entry, chosen)]
    pairs["same width"] = [(a, b) for a in chosen for b in chosen if _same_width(a, b)]
    pairs["kinds"] = _kinds(about)
    together = average_of(about)
    if together is not None:
        pairs["ceiling, average"] = [(top, together) for top in tops(chosen)]
        pairs["floor, average"] = [(together, entry) for entry in chosen if entry.role in FLOOR]
    return pairs


def _same_width(a: Entry, b: Entry) -> bool:
    """Whether b controls for the width of fusion a: as many channels, a part in common, not both kinds of models."""
    if a.id == b.id or a.source.role != "fusion" or not _both_kinds(a) or a.facts["channels"] != b.facts["channels"]:
        return False
    return bool(b.source.parts) and bool(set(a.source.parts) & set(b.source.parts)) and not _both_kinds(b)


def _both_kinds(entry: Entry) -> bool:
    """Whether a fusion joins trained models of both kinds."""
    parts = [read_source(part) for part in entry.source.parts if part_is_model(part)]
    kinds = {model_kind(part.model) for part in parts if not part.untrained}
    return len(parts) == len(entry.source.parts) and {"vlm", "vgm"} <= kinds


def part_is_model(part: str) -> bool:
    """Return whether a fusion's part is a model or control, rather than noise of some width."""
    return not part.startswith(NOISE)


def _kinds(about: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    """Return vision-language against video generation models, each kind averaged; trained ones where both have some."""
    for trained in (True, False):
        sides, several = [], False
        for kind, word in (("vlm", "vision-language model"), ("vgm", "video generation model")):
            some = [e for e in about if e.source.kind == kind and not (trained and e.source.untrained)]
            side = replace(some[0], members=(some[0],)) if len(some) == 1 else average_of(some, word)
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
    """Return two subjects or more as one: the mean of their main metric on the clips that all have.

    One question about all models together needs no correction for their number, so it can be answered with fewer
    rooms. None where some of them lack values.

    Args:
        entries: of one setting.
        word: what they are, in the singular.
    """
    if len(entries) < 2:
        return None
    first = entries[0]
    estimates = common_estimates(entries, first.main_metric)
    if isinstance(estimates, str) or first.clips is None:
        return None
    scores = [score for entry in entries if (score := entry.score(first.main_metric)) is not None]
    share = 1.0 / len(entries)
    mean: Estimate = contrast([share] * len(entries), estimates)
    parts = tuple((share * weight, values) for score in scores for weight, values in score.parts)
    value = float(np.mean([score.on_clips for score in scores]))
    score = Score(first.clips.interval(mean), value, (), 0, mean, parts)
    untrained = all(entry.source.untrained for entry in entries)
    word = f"{'untrained ' if untrained else ''}{word}"
    split = [[e for e in entries if bool(e.source.parts) is fused] for fused in (False, True)]
    kinds = [counted(some, w) for some, w in zip(split, (word, "fusion"), strict=True) if some]
    label = f"the average of {' and '.join(kinds)}"
    source = Source(label, "", label, "unknown", "average", untrained=any(e.source.untrained for e in entries))
    name = digest([entry.id for entry in entries])[:10]
    runs = tuple(run for entry in entries for run in entry.runs)
    scored = Scored({first.main_metric: score})
    facts = {"tap": "", "array": label}
    return replace(first, id=name, source=source, runs=runs, scored=scored, facts=facts, members=tuple(entries))


def parts_of(entry: Entry, chosen: Sequence[Entry]) -> list[Entry]:
    """Return the entries of a fusion's parts: by fingerprint where the fusion knows them, else by name."""
    stores = entry.source.part_stores
    if stores:
        return [other for other in chosen if other.source.store in stores and not other.source.parts]
    return [other for other in chosen if other.source.name in entry.source.parts and other.id != entry.id]
