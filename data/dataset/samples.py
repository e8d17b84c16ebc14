"""A torch dataset of what probes learn from; only the ground truth that is asked for is read.

Features are not here: probes read them from a feature store for the same clip and queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from configs.errors import ConfigError, DatasetError, MissingError
from configs.loader import closest
from data.dataset.queries import QueryPlan, clip_rng, draw_queries
from data.dataset.reader import PreparedDataset
from data.dataset.targets import geometry_targets, sample_pixels, tag_labels

TARGETS = ("labels", "instances", "geometry")
SUREST = 2.0**-12
"""Half the distance of 1 to the float16 below it: values of 1 - 1/c closer to 1 than this are stored as 1."""


def teacher_confidence(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the confidence c >= 1 of the network that made the depth, as published losses and metrics weigh by it.

    Args:
        stored: 1 - 1/c, any shape, within [0, 1]. The half precision of files keeps c within 3 % up to 100; from 4096
            on, where it can't tell values apart, c is 4096.
    """
    return np.asarray(1 / np.maximum(1 - stored, SUREST), np.float32)


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What a sample holds besides clip id and queries.

    Attributes:
        target: what of the ground truth a sample holds: "labels", "instances" or "geometry".
        pixels: pixels per clip for the instance loss.
        balanced: draw them evenly over instances instead of over pixels.
        with_maps: also the whole instance maps (evaluation).
        size: (height, width) of geometry targets; None = as stored.
    """

    target: str
    pixels: int = 2048
    balanced: bool = False
    with_maps: bool = False
    size: tuple[int, int] | None = None


class ClipSamples(Dataset[dict[str, Any]]):
    """Targets of clips: training draws keyed by (seed, epoch, clip), or the frozen queries of a plan.

    A sample is a dict with `clip_id` str, `queries` (S,) int64 and, by target:
        labels: `labels` (C,) float32
        instances: `coordinates` (P, 3) int64 query/row/column, `ids` (P,) int64, `valid` (P,) bool;
            with maps `maps` (S, H, W) int32 and `things` (N + 1,) bool by instance id
        geometry: `depth` (S, h, w), `points` (S, h, w, 3), `confidence` (S, h, w), `world2cam` (S, 4, 4),
            `intrinsics` (S, 3, 3), all float32, `scale` float64, `usable` bool; the confidence is c >= 1 of
            `teacher_confidence`, 1 everywhere if the dataset has none, and 0 where depth is unknown
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        clip_ids: Sequence[str],
        options: SampleOptions,
        *,
        plan: QueryPlan | None = None,
        sampler: str = "random_start",
        n_queries: int = 8,
        seed: int = 0,
        positions: Sequence[int] | None = None,
    ) -> None:
        """Choose clips and queries.

        Args:
            dataset: an open prepared dataset.
            clip_ids: the clips, in sample order.
            options: what samples hold.
            plan: frozen queries (evaluation); else queries are drawn (training).
            sampler, n_queries, seed: of the drawn queries.
            positions: positions that features exist for; default all query positions.

        Raises:
            ConfigError: unknown target.
            MissingError: a clip lacks the ground truth, or is not in the plan; all such clips are named.
        """
        if options.target not in TARGETS:
            raise ConfigError(f"unknown target {options.target!r}", fix=closest(options.target, TARGETS))
        self.dataset, self.clip_ids, self.options, self.plan = dataset, list(clip_ids), options, plan
        self.sampler, self.n_queries, self.seed = sampler, n_queries, seed
        self._positions = None if positions is None else set(positions)
        self._epoch = 0
        self._check()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose queries and pixels the next samples draw."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """Return sample `i` of the epoch set by `set_epoch`."""
        return self.sample(self.clip_ids[i], self._epoch)

    def queries(self, clip_id: str, epoch: int) -> tuple[int, ...]:
        """Return the queries of a clip in an epoch: the plan's draw `epoch % draws`, or a drawn set."""
        if self.plan is not None:
            return self.plan.of(clip_id, epoch % len(self.plan.queries[clip_id]))
        legal = self._legal(clip_id)
        centres = None
        if self.sampler == "baseline":  # the only one that looks at the cameras
            cameras = self.dataset.cameras(clip_id, legal)
            centres = np.where(cameras.valid[:, None], cameras.cam2world[:, :3, 3], np.nan).astype(np.float64)
        return draw_queries(
            self.sampler, self.n_queries, clip_id=clip_id, seed=self.seed, epoch=epoch, legal=legal, centres=centres
        )

    def sample(self, clip_id: str, epoch: int) -> dict[str, Any]:
        """Return the sample of a clip in an epoch; depends on nothing else."""
        queries = self.queries(clip_id, epoch)
        result: dict[str, Any] = {"clip_id": clip_id, "queries": torch.tensor(queries)}
        read = {"labels": self._labels, "instances": self._instances, "geometry": self._geometry}[self.options.target]
        return result | read(clip_id, queries, epoch)

    def _labels(self, clip_id: str, queries: tuple[int, ...], epoch: int) -> dict[str, Any]:
        counts = self.dataset.class_pixels(clip_id, queries)
        labels = tag_labels(counts, self.dataset.gt_size(clip_id))
        return {"labels": torch.from_numpy(labels)}

    def _instances(self, clip_id: str, queries: tuple[int, ...], epoch: int) -> dict[str, Any]:
        maps = self.dataset.instance_maps(clip_id, queries)
        rng = clip_rng(self.seed, epoch, clip_id, "pixels")
        drawn = sample_pixels(maps, self.options.pixels, rng, balanced=self.options.balanced)
        result = {
            "coordinates": torch.from_numpy(drawn.coordinates),
            "ids": torch.from_numpy(drawn.ids),
            "valid": torch.from_numpy(drawn.valid),
        }
        if self.options.with_maps:
            result["maps"] = torch.from_numpy(maps.astype(np.int32))
            things = self.dataset.instances(clip_id)["is_thing"].to_numpy(np.bool_)
            result["things"] = torch.from_numpy(np.concatenate([[False], things]))
        return result

    def _geometry(self, clip_id: str, queries: tuple[int, ...], epoch: int) -> dict[str, Any]:
        cameras = self.dataset.cameras(clip_id, queries)
        stored = self.dataset.confidence(clip_id, queries)
        target = geometry_targets(
            self.dataset.depth(clip_id, queries),
            *cameras,
            confidence=stored,
            size=self.options.size,
        )
        arrays = ("depth", "points", "confidence", "world2cam", "intrinsics")
        result: dict[str, Any] = {name: torch.from_numpy(getattr(target, name)) for name in arrays}
        if stored is not None:
            known = target.depth > 0
            result["confidence"] = torch.from_numpy(np.where(known, teacher_confidence(target.confidence), 0))
        return result | {"scale": target.scale, "usable": target.usable}

    def _legal(self, clip_id: str) -> list[int]:
        legal = self.dataset.query_positions(clip_id)
        return [p for p in legal if self._positions is None or p in self._positions]

    def _check(self) -> None:
        """Name every clip that lacks something before the first sample is asked for."""
        column = {"labels": "has_tags", "instances": "has_instance", "geometry": "has_depth"}[self.options.target]
        unknown = [c for c in self.clip_ids if c not in self.dataset.clips.index]
        if unknown:
            raise MissingError(
                f"{len(unknown)} clips are not in the dataset", where=self.dataset.path, found=unknown[:5]
            )
        lacking = [c for c in self.clip_ids if not self.dataset.clips.at[c, column]]
        if lacking:
            raise MissingError(
                f"{len(lacking)} of {len(self.clip_ids)} clips have no {self.options.target} in their ground truth",
                where=self.dataset.path,
                found=", ".join(lacking[:5]),
            )
        if self.plan is not None:
            absent = [c for c in self.clip_ids if c not in self.plan.queries]
            if absent:
                raise MissingError(
                    f"plan {self.plan.name} leaves out {len(absent)} of these clips", found=", ".join(absent[:5])
                )
            illegal = [
                c for c in self.clip_ids if not {v for d in self.plan.queries[c] for v in d} <= set(self._legal(c))
            ]
            if illegal:
                raise MissingError(f"plan {self.plan.name} asks for queries without features", found=illegal[:5])
        elif self.clip_ids and min(len(self._legal(c)) for c in self.clip_ids) < self.n_queries:
            raise DatasetError(f"some clips have fewer than {self.n_queries} usable queries", where=self.dataset.path)
