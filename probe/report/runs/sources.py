"""What a feature source is: a model, an untrained twin, a control or a fusion; told from its name and fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from configs.errors import ConfigError
from configs.identity import digest
from configs.loader import known_names, load_named
from configs.names import DEFAULT_VARIANT, NOISE, ORACLE, parse_name, read_source
from fusion.recipe import unchecked_recipe
from probe.report.runs.stores import StoreFacts

ORACLE_GROUPS = ("colour", "normal", "depth", "rays", "code", "classes")
TAP_ROLES = {"vision": "vision tower", "vae": "VAE latent"}
"""Taps that hold what a model is fed before any of its blocks."""
CEILING, FLOOR = ("oracle", "partial oracle"), ("pixels", "position")
ORIGIN = ("untrained twin", "vision tower", "VAE latent")


@dataclass(frozen=True)
class Source:
    """One feature store and what it stands for.

    Attributes:
        name: of the source.
        store: first 12 digits of its fingerprint.
        label: name for a reader.
        kind: vgm, vlm, encoder, fusion, control or unknown.
        role: model, untrained twin, pixels, position, oracle, partial oracle, fusion or control fusion.
        untrained: whether any part of it has random weights.
        tiny: whether any part is a small twin.
        base: the model that a twin is the twin of, itself for models, empty for controls and fusions.
        parts: names of a fusion's parts, empty otherwise.
        part_stores: first digits of the fingerprints of the parts, as far as known.
        weights: what the store says about its weights; empty if unknown.
        genuine: whether it certainly holds the published weights at full size.
    """

    name: str
    store: str
    label: str
    kind: str
    role: str
    untrained: bool = False
    tiny: bool = False
    base: str = ""
    parts: tuple[str, ...] = ()
    part_stores: tuple[str, ...] = ()
    weights: str = ""
    genuine: bool = False

    @property
    def all_oracles(self) -> bool:
        """Whether it is a fusion of nothing but oracles: together they may be the ceiling."""
        return bool(self.parts) and all(read_source(part).model == ORACLE for part in self.parts)

    @property
    def subject(self) -> bool:
        """Whether it is what the study is about, rather than something to compare it with."""
        return self.role in ("model", "fusion")


@lru_cache
def model_facts(name: str) -> Mapping[str, Any]:
    """Return `configs/model/<name>.yaml`, empty for a name that is none."""
    return load_named("model", name) if name in known_names("model") else {}


def source_of(name: str, facts: StoreFacts) -> Source:
    """Return what a source is.

    Args:
        name: of the source.
        facts: of its store; without a fingerprint only the name is used.
    """
    try:
        parsed = parse_name(name)
    except ConfigError:
        return Source(name, facts.short, name, "unknown", "model", untrained="random" in name, base=name)
    if parsed.joined:
        return _fusion(name, facts)
    return _plain(name, facts)


def _plain(name: str, facts: StoreFacts) -> Source:
    told = read_source(name)
    base, untrained, tiny = told.model, told.untrained, told.tiny
    config = model_facts(base)
    kind = str(config.get("kind", "unknown"))
    adapter = facts.fingerprint.get("adapter", {})
    adapter = adapter if isinstance(adapter, Mapping) else {}
    title = str(config.get("title", base))
    if kind == "control":
        return _control(Source(name, facts.short, title, kind, base), adapter, told.groups)
    weights = _weights(adapter)
    marks = [word for word, on in (("tiny", tiny), ("untrained", untrained)) if on]
    named = weights.get("hub_id")
    vouched = "content" not in weights
    if not untrained and named not in (None, config.get("hub_id")):
        marks.append(f"weights {named}")
    elif not untrained and not vouched:  # no hash vouches for them, whatever commit is named
        marks.append("local weights")
    return Source(
        name,
        facts.short,
        f"{title} ({', '.join(marks)})" if marks else title,
        kind,
        "untrained twin" if untrained else "model",
        untrained,
        tiny,
        base,
        weights=", ".join(f"{key} {value}" for key, value in weights.items()),
        genuine=not untrained and not tiny and named == config.get("hub_id") is not None and vouched,
    )


def _weights(adapter: Mapping[str, Any]) -> dict[str, Any]:
    """Return `hub_id` and `revision` of a model's own weights, and `content` if no hash vouches for all its parts.

    Video models record a snapshot for each part that comes from elsewhere, beside their `main` one.
    """
    found = adapter.get("weights")
    if not isinstance(found, Mapping):
        return {}
    if not isinstance(found.get("main"), Mapping):
        return dict(found)
    contents = [part["content"] for part in found.values() if "content" in part]
    return {**found["main"], **({"content": contents[0]} if contents else {})}


def _control(source: Source, adapter: Mapping[str, Any], named: Sequence[str]) -> Source:
    """Name pixels, position and oracles; an oracle with less than everything is a partial one."""
    if source.role != ORACLE:
        return source
    groups = list(adapter.get("groups") or named or ORACLE_GROUPS)
    noise = float(adapter.get("noise") or 0.0)
    partial = [group for group in ORACLE_GROUPS if group not in groups]
    words = [", ".join(groups)] if partial else []
    words += [f"noise {noise:g}"] if noise else []
    if not words:
        return source
    return replace(source, role="partial oracle", label=f"{source.label}: {'; '.join(words)}")


def _fusion(name: str, facts: StoreFacts) -> Source:
    parsed = parse_name(name)
    parents = facts.fingerprint.get("parents") or facts.fingerprint.get("fusion", {}).get("parents") or []
    prints = [parent.get("fingerprint") or {} for parent in parents if isinstance(parent, Mapping)]
    if len(prints) != len(parsed.branches):
        prints = [{} for _ in parsed.branches]
    parts = []
    for branch, fingerprint in zip(parsed.branches, prints, strict=True):
        if branch.source == NOISE:
            parts.append(Source(str(branch), "", f"noise of width {branch.width}", "control", "noise"))
            continue
        short = digest(fingerprint)[:12] if fingerprint else ""
        part = _plain(branch.source, StoreFacts(short, fingerprint))
        parts.append(replace(part, label=f"{part.label} ~{branch.width}") if branch.width else part)
    words = [] if parsed.variant == DEFAULT_VARIANT and not parsed.width else [f"{parsed.variant}{parsed.width or ''}"]
    usual = unchecked_recipe(parsed.variant, parsed.width).identity()
    recorded = facts.fingerprint.get("fusion") or {}
    words += [f"{key} {value}" for key, value in recorded.items() if usual.get(key) != value and key != "parents"]
    how = f" [{', '.join(words)}]" if words else ""
    models = all(part.kind in ("vgm", "vlm", "encoder", "unknown") for part in parts)
    return Source(
        name,
        facts.short,
        " + ".join(part.label for part in parts) + how,
        "fusion",
        "fusion" if models and len(parts) > 1 else "control fusion",
        any(part.untrained for part in parts),
        any(part.tiny for part in parts),
        parts=tuple(part.name for part in parts),
        part_stores=tuple(part.store for part in parts if part.store),
        weights="; ".join(part.weights for part in parts if part.weights),
    )


def distinct(sources: Sequence[Source]) -> list[Source]:
    """Return the sources with labels that differ for every store: equal ones get the first digits of the store."""
    count: dict[str, int] = {}
    for source in sources:
        count[source.label] = count.get(source.label, 0) + 1
    return [
        replace(source, label=f"{source.label} #{source.store[:6]}") if count[source.label] > 1 else source
        for source in sources
    ]
