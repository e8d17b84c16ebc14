"""Where weights come from, and how to read only the tensors that the requested blocks need.

Nothing here executes code from a checkpoint: safetensors only, into classes of the installed libraries.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import commands
from configs.commands import ANY
from configs.errors import ModelError, SpatialprobeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

INDEX_SUFFIX = ".safetensors.index.json"
AGAIN = "download it again"
HEADER_LIMIT = 100_000_000
"""Bytes of a header beyond which the library refuses it too."""


@contextmanager
def explained(problem: str, where: Path, fix: str) -> Iterator[None]:
    """Turn whatever a library raises about files of a snapshot into an error that names the file and the way out.

    Our own errors, and memory that runs out, stay what they are.

    Raises:
        ModelError: `problem`, with what the library said.
    """
    try:
        yield
    except (SpatialprobeError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which is a RuntimeError
            raise
        said = " ".join(str(error).split())
        said = f"{type(error).__name__}: {said if len(said) <= 300 else said[:300] + ' ...'}"
        raise ModelError(problem, where=where, found=said, fix=fix) from error


@dataclass(frozen=True)
class Checkpoint:
    """The safetensors files of one folder, one or many, or a single file, read tensor by tensor.

    A folder where the shards of unneeded blocks are absent is fine as long as the index file is there.
    """

    folder: Path

    @cached_property
    def files(self) -> Mapping[str, str]:
        """Tensor name -> file name, from the index file or the headers.

        Raises:
            ModelError: one of them is not readable.
        """
        if self.folder.is_file():
            return dict.fromkeys(read_header(self.folder), "")
        indices = sorted(self.folder.glob("*" + INDEX_SUFFIX))
        if indices:
            with explained("not a readable index of weights", indices[0], AGAIN):
                table = json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"]
                found = {str(name): str(file) for name, file in table.items()}
            outside = [file for file in found.values() if file in ("", ".", "..") or Path(file).name != file]
            if outside:
                raise ModelError(
                    "an index of weights names a file outside its folder",
                    where=indices[0], expected="names of files beside it", found=outside[0], fix=AGAIN,
                )  # fmt: skip
            return found
        return {name: file.name for file in sorted(self.folder.glob("*.safetensors")) for name in read_header(file)}

    @property
    def names(self) -> set[str]:
        """All tensor names of the checkpoint, whether or not their file is present."""
        return set(self.files)

    def read(self, names: Iterable[str], device: str | torch.device = "cpu") -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor) of the named tensors, file by file; other tensors are never touched.

        Raises:
            ModelError: a shard is absent or is not a safetensors file.
        """
        from safetensors import SafetensorError, safe_open

        by_file: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            by_file[self.files[name]].append(name)
        for file, inside in by_file.items():
            path = self.folder / file
            try:
                with safe_open(path, framework="pt", device=str(device)) as handle:
                    for name in inside:
                        yield name, handle.get_tensor(name)
            except FileNotFoundError:
                raise ModelError(
                    "a file of the weights is missing",
                    where=path,
                    fix=f"{commands.extract('download', model=ANY, layers=ANY)}, both as for the run, fetches the rest",
                ) from None
            except SafetensorError as error:
                raise ModelError(f"not a readable safetensors file: {error}", where=path, fix=AGAIN) from error


def read_header(file: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: tensor name -> dtype, shape and byte range.

    Raises:
        ModelError: the file is truncated or not a safetensors file.
    """
    with explained("not a readable safetensors file", file, AGAIN), file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > min(HEADER_LIMIT, file.stat().st_size - 8):
            raise ModelError(
                "not a readable safetensors file", where=file, fix=AGAIN, found=f"a header of {length} bytes",
                expected=f"at most {HEADER_LIMIT}, in a file of {file.stat().st_size} bytes",
            )  # fmt: skip
        header = dict(json.loads(handle.read(length)).items())
    header.pop("__metadata__", None)
    return {str(name): entry for name, entry in header.items()}


def fill(
    module: nn.Module,
    checkpoint: Checkpoint,
    *,
    dropped: Callable[[str], bool] = lambda name: False,
    rename: Callable[[str], str] = lambda name: name,
    dtype: torch.dtype | None = None,
    float32: Callable[[str], bool] = lambda name: False,
    device: str | torch.device = "cpu",
) -> nn.Module:
    """Give a module built on the meta device the tensors of a checkpoint, and check that nothing is left over.

    Args:
        module: the trimmed network, parameters on the meta device.
        checkpoint: the files.
        dropped: whether a tensor name of the checkpoint belongs to a part left out on purpose (deeper blocks, heads).
        rename: tensor name in the checkpoint -> name in the module.
        dtype: dtype of the floating-point tensors; None keeps the stored one.
        float32: module names that stay in float32 whatever `dtype` says.
        device: where the tensors go.

    Returns:
        The module, in evaluation mode, without gradients.

    Raises:
        ModelError: a tensor is missing, unexpected, of another shape, or a file is absent.
    """
    import torch

    wanted = module.state_dict()
    source = {rename(name): name for name in checkpoint.names}
    missing = sorted(set(wanted) - set(source))
    unexpected = sorted(name for target, name in source.items() if target not in wanted and not dropped(name))
    if missing or unexpected:
        raise ModelError(
            f"the weights don't fit {type(module).__name__}",
            where=checkpoint.folder,
            expected=f"every tensor of the network; {len(missing)} missing, first {missing[:3]}" if missing else None,
            found=f"{len(unexpected)} unexpected tensors, first {unexpected[:3]}" if unexpected else None,
            fix="check that weights= names this model, and download it again if it does",
        )
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint.read((source[target] for target in wanted), device):
        target = rename(name)
        if tensor.shape != wanted[target].shape:
            raise ModelError(
                f"tensor {name} has another shape", where=checkpoint.folder, expected=list(wanted[target].shape),
                found=list(tensor.shape), fix="check that weights= names this model",
            )  # fmt: skip
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32 if float32(target) else dtype or tensor.dtype)
        tensors[target] = tensor
    module.load_state_dict(tensors, strict=True, assign=True)
    return module.to(device).eval().requires_grad_(False)


@contextmanager
def on_meta() -> Iterator[None]:
    """Build modules without memory for parameters; buffers (rotary tables) are computed as usual."""
    from accelerate import init_empty_weights  # type: ignore[import-untyped]

    with init_empty_weights(include_buffers=False):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the library's own initialisation from `seed`, without touching the global random state."""
    import torch

    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
