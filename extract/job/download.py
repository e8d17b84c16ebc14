"""Downloading a snapshot of a model's weights: the files that the requested blocks need, after showing their size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.cli import RootConfig
from configs.console import format_bytes
from configs.errors import ConfigError, ModelError
from configs.options import option
from extract.adapter import Variant
from extract.families import build_adapter
from extract.job.config import model_names
from extract.job.request import chosen_blocks
from extract.model import ModelConfig, load_model
from extract.weights.checkpoint import INDEX_SUFFIX
from extract.weights.snapshot import untrained_twin

SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*")
NEVER = ("assets/", "examples/", "original/", ".git")
BLOCK = re.compile(r"(?:^|\.)(?:blocks|transformer_blocks|single_transformer_blocks|layers)\.(\d+)\.")


@dataclass(kw_only=True, frozen=True)
class DownloadConfig(RootConfig):
    """Options of `download`."""

    model: str = option(help="models to download, separated by spaces or commas")
    layers: list[str] = option(help="blocks that will be read, as for run", factory=lambda: ["paper"])
    yes: bool = option(False, "download without asking")


def download(config: DownloadConfig) -> int:
    """Show size and licence of each model, ask, and fetch. Returns 0, or 1 if the user declines one.

    Raises:
        ModelError: no network, no such repository, or a model has no weights.
        ConfigError: no such model or layer, or no terminal to ask on.
    """
    models = [load_model(name) for name in model_names(config.model)]
    for model in models:
        if not model.hub_id:
            raise ModelError(f"{model.name} has no weights to download")
    return max(_download(model, config) for model in models)


def _download(model: ModelConfig, config: DownloadConfig) -> int:
    deepest = max(chosen_blocks(config.layers, model, model.blocks))
    if build_adapter(model, Variant(weights="random")).spec.whole_network:
        deepest = model.blocks
    chosen: dict[str, tuple[str, list[str]]] = {}
    total = 0
    for repository, parts in _repositories(model).items():
        with reaching(model):
            revision, sizes = _listing(repository, model.revision if repository == model.hub_id else None)
            indices = _indices(repository, revision, sizes)
        files = needed_files(sizes, indices, parts, deepest)
        chosen[repository] = (revision, files)
        total += sum(sizes[name] for name in files)
        print(f"{repository} at {revision}: {len(files)} of {len(sizes)} files")
    print(f"licence: {model.licence}\nsize:    {format_bytes(total)} for blocks 1 to {deepest} of {model.blocks}")
    if not config.yes and not _agreed():
        return 1
    from huggingface_hub import snapshot_download

    for repository, (revision, files) in chosen.items():
        with reaching(model):
            print(snapshot_download(repository, revision=revision, allow_patterns=files))
    return 0


def _agreed() -> bool:
    """Ask on the terminal.

    Raises:
        ConfigError: no terminal is attached, as in a batch job.
    """
    try:
        return input("download? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise ConfigError("the download has to be confirmed, but no terminal is attached", fix="add yes=true") from None


@contextmanager
def reaching(model: ModelConfig) -> Iterator[None]:
    """Translate what the hub's library raises: OSError, or an error of the HTTP client that its version comes with.

    Raises:
        ModelError: no network, no such repository, no access.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "huggingface_hub")):
            raise _offline(model, error) from error
        raise


def needed_files(
    sizes: Mapping[str, int], indices: Mapping[str, Mapping[str, str]], parts: Sequence[str] | None, deepest: int
) -> list[str]:
    """Return the files of a repository that hold what a run needs.

    Args:
        sizes: file name -> bytes.
        indices: folder -> tensor name -> file, from the index files of sharded weights.
        parts: sub-folders that are read; None for all.
        deepest: number of blocks that run; shards that hold only deeper ones are left out.
    """
    chosen: list[str] = []
    for name in sorted(sizes):
        path = Path(name)
        folder = str(path.parent)
        if name.startswith(NEVER) or (parts is not None and folder != "." and path.parts[0] not in parts):
            continue
        if any(path.match(pattern) for pattern in SMALL_FILES):
            chosen.append(name)
        elif name.endswith(".safetensors"):
            table = indices.get(folder)
            tensors = [tensor for tensor, file in table.items() if file == path.name] if table else []
            if not tensors or any(_block(tensor) <= deepest for tensor in tensors):
                chosen.append(name)
    return chosen


def _block(tensor: str) -> int:
    """Number of blocks that have run when a tensor is used; 0 outside the trunk, vision towers included."""
    found = BLOCK.search(tensor)
    return 0 if found is None or "visual" in tensor or "vision" in tensor else int(found[1]) + 1


def _repositories(model: ModelConfig) -> dict[str, list[str] | None]:
    """Repository -> sub-folders that are read from it."""
    assert model.hub_id
    if not model.parts:
        return {model.hub_id: None}
    wanted: dict[str, list[str] | None] = {model.hub_id: None}
    for part, repository in model.parts.items():
        folders = wanted.setdefault(repository, [])
        if folders is not None:
            folders += [part, "scheduler"]
    return wanted


def _listing(repository: str, revision: str | None) -> tuple[str, dict[str, int]]:
    from huggingface_hub import HfApi

    facts = HfApi().model_info(repository, revision=revision, files_metadata=True)
    return str(facts.sha), {file.rfilename: int(file.size or 0) for file in facts.siblings or []}


def _indices(repository: str, revision: str, sizes: Mapping[str, int]) -> dict[str, dict[str, str]]:
    from huggingface_hub import hf_hub_download

    found: dict[str, dict[str, str]] = {}
    for name in sizes:
        if name.endswith(INDEX_SUFFIX):
            table: dict[str, Any] = json.loads(
                Path(hf_hub_download(repository, name, revision=revision)).read_text(encoding="utf-8")
            )
            found[str(Path(name).parent)] = table["weight_map"]
    return found


def _offline(model: ModelConfig, error: Exception) -> ModelError:
    return ModelError(
        f"can't reach the weights of {model.name}",
        expected=f"a network, and access to {model.hub_id}",
        found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        fix="run this where there is a network and copy the folder, then weights=/path/to/folder;\n"
        f"            or the untrained twin: {untrained_twin(model.name)}",
    )
