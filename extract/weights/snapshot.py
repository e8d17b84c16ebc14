"""Finding the weights of a model on this machine, and naming them in a fingerprint; downloads nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from configs import commands
from configs.errors import ModelError
from extract.adapter import Variant
from extract.weights.checkpoint import INDEX_SUFFIX
from extract.weights.hashes import combined, file_hashes, unverified

PROVENANCE = "spatialprobe.json"
"""File that says which commit a copied folder is of: {"hub_id": ..., "revision": ...}. Nothing here writes it."""
TEXT_FILES = ("*config.json", "*" + INDEX_SUFFIX, "*token*.json", "vocab.*", "merges.txt", "*.model")
"""Files of a snapshot, other than tensors, that decide values: architectures, indices, pixel statistics, tokenizers."""


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


def hash_memory(variant: Variant) -> Path | None:
    """Return the folder in which the hashes of weight files are remembered; None if nothing is kept."""
    return Path(variant.cache) / "hashes" if variant.cache else None


def identity_of(folder: Path, memory: Path | None = None, again: str = "") -> dict[str, str]:
    """Return what identifies weights in a fingerprint: hub id and commit where known, and what no hash vouches for.

    Files in the hub's cache are checked against the hashes that it keeps. The content of all others is hashed, and
    becomes part of the identity: of the whole snapshot for a folder, of single files for a snapshot with replaced ones.

    Args:
        folder: a snapshot, or one file of weights.
        memory: folder in which hashes are remembered; None remembers nothing.
        again: command that downloads the snapshot, for the message; "" for the hub's own.

    Raises:
        ModelError: a downloaded file is damaged, or `PROVENANCE` can't be read.
    """
    files = value_files(folder)
    noted = folder / PROVENANCE
    if noted.is_file():
        known = _provenance(noted)
    elif folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        repository = folder.parent.parent
        known = {
            "hub_id": repository.name.removeprefix("models--").replace("--", "/"),
            "revision": folder.name,
        }
        files = unverified(files, repository / "blobs", memory, again or f"hf download {known['hub_id']}")
        if not files:
            return known
    else:
        known = {}
    return {**known, "content": _content(folder, files, memory)}


def content_hash(folder: Path, memory: Path | None = None) -> str:
    """Return a SHA-256 over the names and all bytes of the files of a folder, or of one file, that decide values."""
    return _content(folder, value_files(folder), memory)


def value_files(folder: Path) -> list[Path]:
    """Return the files of a snapshot, or of a part of one, that decide values: tensors and `TEXT_FILES`; those here."""
    if folder.is_file():
        return [folder]
    found = {file for pattern in ("*.safetensors", *TEXT_FILES) for file in folder.rglob(pattern)}
    return sorted(file for file in found if file.is_file())


def _content(folder: Path, files: Sequence[Path], memory: Path | None) -> str:
    hashes = file_hashes(files, memory)
    if folder.is_file():
        return hashes[folder]
    return combined({file.relative_to(folder).as_posix(): value for file, value in hashes.items()})


def _provenance(file: Path) -> dict[str, str]:
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        return {"hub_id": str(noted["hub_id"]), "revision": str(noted["revision"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            "can't read where the weights come from",
            where=file,
            expected='{"hub_id": ..., "revision": ...}',
            found=f"{type(error).__name__}: {error}",
            fix="correct or remove the file",
        ) from error


def _looks_like_hub_id(text: str) -> bool:
    return text.count("/") == 1 and not text.startswith((".", "~", os.sep)) and not text.endswith("/")
