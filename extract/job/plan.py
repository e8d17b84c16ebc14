"""What a job will do and need, printed before the first forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cache.care.forecast import bytes_needed, check_free_space, store_bytes
from cache.create import check_place
from cache.format.clips import merged
from cache.format.layout import STORE
from cache.format.spec import ArraySpec
from cache.storage.local import LocalBackend
from cache.store import FeatureStore
from configs.console import format_bytes
from configs.errors import StaleError
from configs.files import free_bytes
from extract.families import build_adapter
from extract.job.request import Request

if TYPE_CHECKING:
    pass

ASSUMED_SPEED = 200e12
"""FLOP per second assumed for the hours of a plan: a round number for bfloat16 on a current data-centre GPU, not a
measurement. A run prints its own pace after its first clips."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One job.

    Attributes:
        source, dataset: names.
        path: folder of the store.
        clips: clips of this job's part that lack an array.
        finished: ids of the clips of this job's part that have all.
        arrays: what is stored.
        asked: ids of all requested clips, of any part.
        new_bytes: disk that the missing clips will take.
        depth: deepest block read, blocks loaded, blocks of the whole network; None for controls.
        frames: frames read per clip.
        weight_bytes: memory of the loaded weights; None where it was not requested, or for a tiny twin.
        flops: compute of one clip (see `Adapter.flops`); None where it was not requested.
        device, dtype: where and in what the arithmetic runs.
    """

    source: str
    dataset: str
    path: Path
    clips: int
    finished: Sequence[str]
    arrays: Sequence[ArraySpec]
    asked: frozenset[str]
    new_bytes: int
    depth: tuple[int, int, int] | None
    frames: int
    weight_bytes: int | None
    flops: int | None
    device: str
    dtype: str

    @property
    def complete(self) -> int:
        """How many clips of this job's part have all arrays."""
        return len(self.finished)

    def describe(self) -> str:
        """Return the plan as a person reads it."""
        lines = [
            f"{self.source} on {self.dataset}: {self.clips} clips to do, {self.complete} complete",
            f"  arrays   {', '.join(spec.name for spec in self.arrays)} ({self.arrays[0].dtype})",
            f"  frames   {self.frames} per clip, {self.arrays[0].rows} maps kept",
            f"  device   {self.device}, {self.dtype}",
        ]
        if self.depth:
            read, loaded, total = self.depth
            lines.append(f"  blocks   up to {read} are read, {loaded} of {total} are loaded and run")
        if self.weight_bytes is not None:
            lines.append(f"  memory   {format_bytes(self.weight_bytes)} of weights, activations come on top")
        if self.flops:
            hours = self.flops * self.clips / ASSUMED_SPEED / 3600
            each, speed = self.flops / 1e12, ASSUMED_SPEED / 1e12
            lines.append(
                f"  compute  {each:,.0f} TFLOP per clip: {hours:,.3g} GPU hours in all at {speed:.0f} TFLOP/s, if the "
                "device keeps that up"
            )
        lines.append(f"  disk     {format_bytes(self.new_bytes)} of {format_bytes(free_bytes(self.path))} free")
        lines.append(f"  store    {self.path}")
        return "\n".join(lines)

    def check_disk(self) -> None:
        """Reject a job that doesn't fit on the disk.

        Raises:
            StorageError: it can't.
        """
        check_free_space(self.path, self.arrays, self.clips, self.new_bytes)


def make_plan(request: Request, *, measure: bool = False) -> Plan:
    """Find out what is left to do.

    Args:
        request: the resolved request.
        measure: build the network without memory to add up its weights; takes some seconds.

    Raises:
        StaleError: the store has given the name of an array to another one, or has a clip with other frames.
        StoreError: no store can be made in its place.
    """
    path = request.path
    ids = [entry.clip_id for entry in request.clips]
    place = request.places(None)
    done: dict[str, set[str]] = {}
    identity = {"source": request.source, "dataset": request.dataset, "fingerprint": request.fingerprint}
    beginning = 0
    if (path / STORE).is_file():
        store = FeatureStore.open(path)
        place = request.places(store)
        done = {name: set(store.committed(name)) for name in store.arrays}
        _refuse_namesakes(store, request.specs)
        merged(store.entries, request.clips, store.where)  # raises: a clip has other frames than when it was extracted
    else:
        check_place(LocalBackend(path))
        beginning = store_bytes(identity, {}, request.clips, request.specs)
    mine = [clip for clip in ids if request.config.mine(place[clip])]
    lacks = {clip: tuple(spec.name for spec in request.specs if clip not in done.get(spec.name, ())) for clip in mine}
    absent = Counter(lacks.values())
    lacking = sum(count for names, count in absent.items() if names)
    by_name = {spec.name: spec for spec in request.specs}
    clip_bytes = sum(bytes_needed([by_name[name] for name in names], count) for names, count in absent.items())
    depth, weights, flops = None, None, None
    if deepest := [(tap.block, spec.blocks_total or 0) for tap, spec in request.arrays.values() if tap.block]:
        read, total = max(deepest)
        depth = read, total if request.spec.whole_network else read, total
    if measure and depth and request.variant.size != "tiny":
        weights, flops = measure_network(request)
    return Plan(
        source=request.source,
        dataset=request.dataset,
        path=path,
        clips=lacking,
        finished=[clip for clip, names in lacks.items() if not names],
        arrays=request.specs,
        asked=frozenset(ids),
        new_bytes=beginning + clip_bytes,
        depth=depth,
        frames=len(request.spec.frames.positions),
        weight_bytes=weights,
        flops=flops,
        device=request.variant.device,
        dtype=request.spec.compute_dtype,
    )


def _refuse_namesakes(store: FeatureStore, specs: Sequence[ArraySpec]) -> None:
    """Reject arrays whose name the store uses for something else, before they count as done.

    Raises:
        StaleError: there is one.
    """
    for spec in specs:
        if spec.name in store.arrays and (there := store.array(spec.name)).to_json() != spec.to_json():
            raise StaleError(
                f"the store has a different array named {spec.name}",
                where=store.where,
                expected=f"noise {there.noise_level}, {there.extra}",
                found=f"noise {spec.noise_level}, {spec.extra}",
                fix="noise levels less than 0.001 apart can share a name: use the store's level or one further away",
            )


def measure_network(request: Request) -> tuple[int, int | None]:
    """Return (bytes of the weights, FLOP of one clip) that the taps need at full size, from networks without memory."""
    dtype = request.spec.compute_dtype
    variant = replace(request.variant, device="meta", weights="random", size="full", dtype=dtype, cache=None)
    adapter = build_adapter(request.model, variant)
    adapter.load([tap for tap, _ in request.arrays.values()])
    parameters = [parameter for module in adapter.modules() for parameter in module.parameters()]
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters), adapter.flops()
