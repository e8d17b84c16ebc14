"""Finding the weights of a model on this machine, and naming them in a fingerprint; downloads nothing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from configs import commands
from configs.errors import ModelError
from extract.weights.checkpoint import read_header

PROVENANCE = "spatialprobe.json"
"""File that says which commit a copied folder is of: {"hub_id": ..., "revision": ...}. Nothing here writes it."""
TEXT_FILES = ("*config.json", "*token*.json", "vocab.*", "merges.txt", "*.model")
"""Files of a snapshot, other than tensors, that decide values: architectures, pixel statistics, tokenizers."""


def find_weights(weights: str, hub_id: str | None, revision: str | None, *, model: str, twin: str = "") -> Path:
    """Return the folder that holds the weights of a model; downloads nothing.

    Args:
        weights: "hub" for the model's own repository, a local folder, or another hub id.
        hub_id, revision: the model's own repository and pinned commit.
        model: name for the message.
        twin: command that runs the untrained twin, for the message; "" for the plain one.

    Raises:
        ModelError: they are not on this machine; the message says how to get them, and how to run without.
    """
    local = Path(weights).expanduser()
    if weights != "hub" and local.is_dir():
        return local
    repository = hub_id if weights == "hub" else weights if _looks_like_hub_id(weights) else None
    if repository is not None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        pinned = revision if weights == "hub" else None
        try:
            return Path(snapshot_download(repository, revision=pinned, local_files_only=True))
        except (LocalEntryNotFoundError, HfHubHTTPError, ValueError, OSError):
            pass
    get = f"{commands.extract('download', model=model)}   (needs a network)\n"
    if weights != "hub":
        get = f"hf download {repository}   (needs a network)\n" if repository else "check weights=, a folder\n"
    raise ModelError(
        f"the weights of {model} are not on this machine",
        expected=f"{repository or 'a folder'}"
        + (f" at {revision}" if revision and weights == "hub" else "")
        + (" in the hub's cache, or a folder" if repository else ""),
        found="nothing" if repository else f"no folder {weights}",
        fix=f"{get}            or weights=/path/to/folder with a copy of the repository\n"
        f"            or the untrained twin: {twin or untrained_twin(model)}",
    )


def untrained_twin(model: str) -> str:
    """Return the command that runs the untrained tiny twin of a model, for messages."""
    return commands.extract("run", model=model, weights="random", size="tiny")


def identity_of(folder: Path) -> dict[str, str]:
    """Return what identifies weights in a fingerprint: hub id and commit where known, else a hash of the content."""
    provenance = folder / PROVENANCE
    if provenance.is_file():
        noted = json.loads(provenance.read_text(encoding="utf-8"))
        return {"hub_id": str(noted["hub_id"]), "revision": str(noted["revision"])}
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return {
            "hub_id": folder.parent.parent.name.removeprefix("models--").replace("--", "/"),
            "revision": folder.name,
        }
    return {"content": content_hash(folder)}


def content_hash(folder: Path, sample: int = 4096) -> str:
    """Return a SHA-256 over all safetensors headers, both ends (`sample` bytes) of every tensor, and all `TEXT_FILES`.

    Reading whole checkpoints of tens of gigabytes at every start would cost minutes; any training step changes the
    sampled bytes of nearly every tensor.
    """
    total = hashlib.sha256()
    for file in [folder] if folder.is_file() else sorted(folder.rglob("*.safetensors")):
        header = read_header(file)
        place = file.name if file == folder else file.relative_to(folder)
        total.update(f"{place} {json.dumps(header, sort_keys=True)}".encode())
        with file.open("rb") as handle:
            start = 8 + int.from_bytes(handle.read(8), "little")
            for name in sorted(header):
                begin, end = header[name]["data_offsets"]
                handle.seek(start + begin)
                total.update(handle.read(min(sample, end - begin)))
                handle.seek(start + max(begin, end - sample))
                total.update(handle.read(min(sample, end - begin)))
    for file in sorted({file for pattern in TEXT_FILES for file in folder.rglob(pattern)}):
        total.update(f"{file.relative_to(folder)} ".encode() + file.read_bytes())
    return total.hexdigest()


def _looks_like_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "~", os.sep)) and not text.endswith("/")
