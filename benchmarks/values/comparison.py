"""Two files of digests set against each other: equal, renamed, different, missing, new."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

from benchmarks.values.digests import Digests

SHOWN = 6  # names per kind and group


@dataclasses.dataclass
class Comparison:
    """Names of values by what became of them."""

    equal: list[str] = dataclasses.field(default_factory=list)
    renamed: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    different: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    new: list[str] = dataclasses.field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether each value of either side is on the other one too, be it under another name."""
        return not (self.different or self.missing or self.new)


def compare(before: Digests, after: Digests) -> Comparison:
    """Compare name by name; a value that is found under a new name of the same group has been renamed."""
    found = Comparison()
    for name in sorted(before.keys() & after.keys()):
        (found.equal if before[name] == after[name] else found.different).append(name)
    gone, come = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in come:
        places[_first(name), after[name]].append(name)
    for name in gone:
        others = places[_first(name), before[name]]
        if others:
            found.renamed.append((name, others.pop(0)))
        else:
            found.missing.append(name)
    taken = {new for _, new in found.renamed}
    found.new = [name for name in come if name not in taken]
    return found


def summary(comparison: Comparison) -> str:
    """Return one line per group and what happened there, and some names of what does not agree."""
    kinds = {
        "equal": comparison.equal,
        "renamed": [old for old, _ in comparison.renamed],
        "different": comparison.different,
        "missing": comparison.missing,
        "new": comparison.new,
    }
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, names in kinds.items():
        for name in names:
            counts[_group(name)][kind] += 1
    moved = dict(comparison.renamed)
    lines = []
    for group in sorted(counts):
        lines.append(f"{group}: " + ", ".join(f"{count} {kind}" for kind, count in counts[group].items()))
        for kind in ("renamed", "different", "missing", "new"):
            names = [name for name in kinds[kind] if _group(name) == group]
            shown = [f"{name} -> {moved[name]}" if kind == "renamed" else name for name in names[:SHOWN]]
            lines += [f"  {kind:9} {name}" for name in shown]
            if len(names) > SHOWN:
                lines.append(f"  {kind:9} and {len(names) - SHOWN} more")
    lines.append("total: " + ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items()))
    return "\n".join(lines)


def _first(name: str) -> str:
    return name.partition("/")[0]


def _group(name: str) -> str:
    """Return the first two parts of a name: features/pixels, probes/tagging-smoke."""
    return "/".join(name.split("/")[:2])
