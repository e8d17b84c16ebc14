"""One device: choosing it, moving a batch there, running the adapter, pooling, and bringing the result back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cache.format.spec import ArraySpec
from configs.errors import ConfigError, ModelError
from configs.machine import without_gpu
from extract.adapter import Adapter, Batch, Tap
from extract.job.reader import Prepared
from extract.readout import pool_to_grid
from extract.weights.libraries import torch_dtype

if TYPE_CHECKING:
    from torch import Tensor


def visible_devices(choice: str) -> list[str]:
    """Return the torch devices that `device=` means: all visible GPUs for `auto` and `cuda`, else the one named.

    Raises:
        ConfigError: there is no such device here, or nothing here knows the name.
    """
    if choice not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", choice):
        raise ConfigError(f"can't read device={choice}", expected="auto, cpu, cuda, or one GPU such as cuda:1")
    if without_gpu():
        count = 0
    else:
        import torch

        count = torch.cuda.device_count()
    if choice in ("auto", "cuda"):
        if count:
            return [f"cuda:{index}" for index in range(count)]
        if choice == "cuda":
            raise ConfigError("no GPU is visible to PyTorch", fix="device=cpu, or install a PyTorch build for your GPU")
        return ["cpu"]
    if choice.startswith("cuda:") and int(choice[5:]) >= count:
        raise ConfigError(
            f"no GPU {choice[5:]} is visible to PyTorch", expected=f"0 to {count - 1}" if count else "device=cpu"
        )
    return [choice]


@dataclass
class Result:
    """Features of a batch on their way to the CPU.

    Attributes:
        arrays: array name -> (B, rows, y, x, C) on the CPU, complete once `wait` has returned.
        batch: clips that ran together.
        wait: blocks until the values have arrived and returns the seconds that the device was busy.
    """

    arrays: Mapping[str, Tensor]
    batch: int
    wait: Callable[[], float]


@dataclass
class Device:
    """Runs one adapter on one device, in one thread.

    Attributes:
        adapter: with the taps loaded.
        name: torch device.
        arrays: array name -> tap and specification.
        automatic: whether a batch that does not fit is cut in halves.
    """

    adapter: Adapter
    name: str
    arrays: Mapping[str, tuple[Tap, ArraySpec]]
    automatic: bool = False
    largest: int = field(default=1 << 30)

    def run(self, clips: Sequence[Prepared]) -> list[Result]:
        """Run some clips together, or in smaller batches where memory asks for it; results in the order of the clips.

        Raises:
            ModelError: not even one clip fits.
        """
        import torch

        results: list[Result] = []
        todo = list(clips)
        while todo:
            size = min(len(todo), self.largest)
            try:
                results.append(self._forward(todo[:size]))
            except torch.OutOfMemoryError as error:
                if size == 1 or not self.automatic:
                    raise ModelError(
                        f"the memory of {self.name} does not hold a batch of {size}",
                        found=str(error).split("\n")[0],
                        fix=("batch=1, " if size > 1 else "") + "a smaller model, or a device with more memory",
                    ) from error
                torch.cuda.empty_cache()
                self.largest = size // 2
                continue
            todo = todo[size:]
        return results

    def _forward(self, clips: Sequence[Prepared]) -> Result:
        import torch

        cuda = self.name.startswith("cuda")
        started = time.perf_counter()
        if cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
        inputs = {
            name: torch.stack([clip.inputs[name].to(self.name, non_blocking=True) for clip in clips])
            for name in clips[0].inputs
        }
        with torch.inference_mode():
            features = self.adapter.forward(Batch(clip_ids=[clip.clip_id for clip in clips], inputs=inputs))
            found = {}
            for name, (tap, spec) in self.arrays.items():
                pooled = pool_to_grid(features[tap.key], spec.grid).to(_store_dtype(features[tap.key], spec))
                found[name] = _to_cpu(pooled, cuda)
        if not cuda:
            busy = time.perf_counter() - started
            return Result(found, len(clips), lambda: busy)
        end.record()

        def wait() -> float:
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1000

        return Result(found, len(clips), wait)


def _store_dtype(features: Tensor, spec: ArraySpec) -> torch.dtype:  # type: ignore[name-defined]  # noqa: F821
    """Return the stored dtype where casting is safe; overflow to float16 is left to the writer, which refuses it."""
    return features.dtype if spec.dtype == "float16" else torch_dtype(spec.dtype)


def _to_cpu(tensor: Tensor, cuda: bool) -> Tensor:
    import torch

    if not cuda:
        return tensor.contiguous()
    target = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return target.copy_(tensor, non_blocking=True)
