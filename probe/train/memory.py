"""How many probes train side by side: as many as fit into memory, the rest in further passes over the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from probe.train.plan import RunPlan

STATES = 4
"""Numbers kept for each parameter: weight, gradient and both moments of AdamW."""
BUFFERS = 6
"""Batches of features alive at once: three of training and three of evaluation, see `cache.loading.feature_loader`."""
SHARE = 0.5
"""Of the free memory; the rest is for activations, ground truth and everybody else."""
GIB = 1 << 30


def split_passes(
    plans: Sequence[RunPlan], size_of: Callable[[RunPlan], tuple[int, int]], device: torch.device, memory: float
) -> list[list[RunPlan]]:
    """Cut runs into passes that fit into memory, in order; a run that is too large by itself gets a pass of its own.

    Args:
        plans: the runs.
        size_of: returns the bytes of a run's states, and of the batches of its array, which runs share.
        device: where they train.
        memory: GiB to spend; 0 takes half of what is free.
    """
    budget = memory * GIB if memory else SHARE * free_memory(device)
    passes: list[list[RunPlan]] = []
    used, layers = 0.0, set[int]()
    for plan in plans:
        own, features = size_of(plan)
        cost = own + (0 if plan.array in layers else features)
        if not passes or used + cost > budget:
            passes.append([])
            used, layers, cost = 0.0, set(), own + features
        passes[-1].append(plan)
        used += cost
        layers.add(plan.array)
    return passes


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free where probes train: on the device, and on the machine that reads for it."""
    free = _free_on_host()
    return min(free, int(torch.cuda.mem_get_info(device)[0])) if device.type == "cuda" else free


def _free_on_host() -> int:
    """Return the smaller of what the kernel calls available and what the control group leaves."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        return 4 * GIB
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no control groups, or of the first version
        return free
