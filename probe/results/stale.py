"""Which results still belong to their dataset as it is prepared now; stale ones are never ranked with the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from configs.errors import MissingError, SpatialprobeError
from configs.files import sha256_file
from data.dataset.queries import plan_file
from data.dataset.reader import DatasetIndex
from fusion.staleness import parameter_changes
from probe.inputs.inputs import clips_digest, split_clips


@dataclass(frozen=True)
class Staleness:
    """How results stand to their datasets.

    Attributes:
        stale: run id -> what has changed in its dataset since.
        unchecked: name of a dataset that its results can't be compared with -> why not; they stay usable.
    """

    stale: Mapping[str, str] = field(default_factory=dict)
    unchecked: Mapping[str, str] = field(default_factory=dict)


def staleness(root: str | None, found: Iterable[Mapping[str, Any]]) -> Staleness:
    """Compare the inputs that results record with their datasets; ground truth itself is not read.

    A result is stale if the dataset was prepared with other parameters, its splits hold other clips than the run's,
    frames or ground truth of one of these clips have changed, or the query plan has.

    Args:
        root: artifact root.
        found: results, as `probe.results.results.read` returns them.
    """
    stale: dict[str, str] = {}
    unchecked: dict[str, str] = {}
    known: dict[str, _Today | None] = {}
    for result in found:
        name = str(result["dataset"])
        if name not in known:
            try:
                known[name] = _Today(DatasetIndex.open(name, root))
            except MissingError:
                known[name], unchecked[name] = None, "it is not prepared here"
            except SpatialprobeError as error:
                known[name], unchecked[name] = None, error.problem
        today = known[name]
        if today is not None and (why := today.changes(result)):
            stale[str(result["run_id"])] = why
    return Staleness(stale, unchecked)


class _Today:
    """A dataset as it is now, and what runs would record of it."""

    def __init__(self, dataset: DatasetIndex) -> None:
        self.dataset = dataset
        self.clips = cache(self._clips)
        self.plan = cache(self._plan)

    def changes(self, result: Mapping[str, Any]) -> str:
        """Return how the dataset differs from what a result records of it; empty if it doesn't."""
        recorded = result["inputs"]
        if recorded["dataset_parameters"] != self.dataset.fingerprint:
            changed = parameter_changes(result["made_from"], self.dataset.made_from)
            return f"{self.dataset.name} was prepared again with other parameters: {changed}"
        clips, truth = self.clips(result["split_scheme"], result["fraction"], result["config"]["data_seed"])
        if recorded["clips"] != clips:
            if result["fraction"] < 1 and "rooms" not in result:
                return "its share of the clips was drawn clip by clip, as in 0.2.0; now whole rooms are drawn"
            return f"the splits of {self.dataset.name} hold other clips now"
        if recorded["truth"] != truth:
            return f"frames or ground truth of {self.dataset.name} have changed"
        if self.plan(result["plan"]) not in (None, recorded["plan"]):
            return f"query plan {result['plan']} of {self.dataset.name} has changed"
        return ""

    def _clips(self, scheme: str, fraction: float, seed: int) -> tuple[str, str]:
        train, select, report = split_clips(self.dataset, scheme, fraction, seed)
        return clips_digest(train, select, report), self.dataset.content_digest([*train, *select, *report])

    def _plan(self, name: str) -> str | None:
        path = plan_file(self.dataset, name)
        return sha256_file(path) if path.is_file() else None
