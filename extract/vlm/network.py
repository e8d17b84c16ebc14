"""Networks of vision-language models without language head, final norm and deeper blocks: from files, or untrained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import commands
from configs.errors import ModelError
from configs.files import read_json
from configs.identity import digest
from extract.weights.checkpoint import AGAIN, Checkpoint, explained, fill, on_meta, seeded

if TYPE_CHECKING:
    import torch
    from torch import nn

OTHER = "choose the matching model=, or another weights="

INIT_VERSION = 1
"""Raised when `initialise` would draw other numbers; part of the identity of untrained weights."""

FREE = {"vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id"}
"""Arguments that a model trained further may have changed; no feature depends on them."""

_BLOCK = re.compile(r"language_model\.layers\.(\d+)\.")


def trimmed_network(config: Any, depth: int) -> nn.Module:
    """Build a network with the first `depth` decoder blocks, parameters on the meta device.

    The final norm is left out: the map of a block is its own output, never the normalised one. With depth 0 only the
    vision tower and its projector remain.
    """
    import torch
    from transformers import AutoModel

    text = config.get_text_config()
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    with on_meta():
        network: Any = AutoModel.from_config(config, attn_implementation="sdpa")
    if depth == 0:
        network.language_model = torch.nn.Identity()
    else:
        network.language_model.norm = torch.nn.Identity()
    return network.eval()  # type: ignore[no-any-return]


def load_network(
    config: Any,
    checkpoint: Checkpoint,
    rename: Callable[[str], str],
    *,
    depth: int,
    dtype: torch.dtype,
    device: str,
) -> nn.Module:
    """Read the tensors that `depth` blocks need, and no others, into the trimmed network.

    Args:
        config: configuration of the whole network.
        checkpoint: its files.
        rename: tensor name of the checkpoint -> name in the library's base model; names of heads stay as they are.
        depth: decoder blocks to keep.
        dtype: dtype of all parameters; the rotary tables stay in float32.
        device: where they go.

    Raises:
        ModelError: the files don't fit the configuration.
    """

    def dropped(name: str) -> bool:
        target = rename(name)
        block = _BLOCK.match(target)
        deeper = block is not None and int(block[1]) >= depth
        unused = "lm_head.", "language_model.norm.", *(["language_model."] if depth == 0 else [])
        return deeper or target.startswith(tuple(unused)) or target.endswith(".inv_freq")

    with explained("config.json describes no network that can be built", checkpoint.folder, OTHER):
        network = trimmed_network(config, depth)
    return fill(network, checkpoint, dropped=dropped, rename=rename, dtype=dtype, device=device)


def untrained_network(config: Any, *, depth: int, seed: int, dtype: torch.dtype, device: str) -> nn.Module:
    """Build the trimmed network with the library's own initialisation; equal in all blocks that two depths share.

    On the device "meta" there are no values to draw, only shapes.
    """
    if device == "meta":
        return trimmed_network(config, depth).to(device="meta", dtype=dtype).eval()
    return initialise(trimmed_network(config, depth), seed, dtype=dtype, device=device)


def initialise(network: nn.Module, seed: int, *, dtype: torch.dtype, device: str) -> nn.Module:
    """Draw all parameters with the library's own rules, every module from a seed of its own name.

    So a block's weights depend neither on how many blocks follow it nor on the order of construction. Numbers are
    drawn in float32 on the CPU, the same for every dtype and device.

    Args:
        network: a transformers model, parameters on any device; their values are replaced.
        seed: 0, 1, 2, ...
        dtype, device: of the parameters in the end.

    Raises:
        ModelError: the library has no rule for a parameter.
    """
    import torch

    owners: dict[str, Any] = {}
    for name, module in network.named_modules():
        owner: Any = module if hasattr(module, "_init_weights") else owners[name.rpartition(".")[0]]
        owners[name] = owner
        own = list(module.named_parameters(recurse=False))
        for key, old in own:
            blank = torch.full(old.shape, torch.nan)
            module.register_parameter(key, torch.nn.Parameter(blank, requires_grad=False))
        with seeded(int(digest([seed, name])[:12], 16)), torch.no_grad():
            owner._init_weights(module)
        for key, _ in own:
            drawn = module.get_parameter(key)
            if drawn.isnan().any():
                raise ModelError(
                    f"the library has no initialisation for {name}.{key}", fix="use trained weights for this model"
                )
            placed = drawn.to(device=device, dtype=dtype)
            module.register_parameter(key, torch.nn.Parameter(placed, requires_grad=False))
    return network.to(device).eval()


def check_family(folder: Path, model_types: Sequence[str], model: str) -> None:
    """Refuse a folder that is not a snapshot of one of these types of model; `model` is its name.

    Raises:
        ModelError: config.json is missing, unreadable, or of another type.
    """
    file = folder / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(
            "the folder holds no readable config.json",
            where=folder,
            fix=f"give the folder of a complete snapshot, or fetch it: {commands.extract('download', model=model)}",
        ) from error
    if found not in model_types:
        raise ModelError(
            "the snapshot belongs to another family of models",
            where=file,
            expected=" or ".join(model_types),
            found=found,
            fix=OTHER,
        )


def check_snapshot(
    folder: Path,
    config: Any,
    blocks: int,
    width: int,
    architecture: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """Refuse a snapshot that belongs to another model, or whose pixels are normalised in another way.

    Args:
        folder: the snapshot.
        config: its configuration, read.
        blocks, width: depth and width of the language model.
        architecture: constructor arguments of the network, "text" and "vision"; sizes, numbers of heads and lists of
            blocks must agree, also where tensors of other networks would fit. Sizes of the vocabulary may differ.
        mean, std: normalisation that will be applied.

    Raises:
        ModelError: something differs.
        CorruptionError: preprocessor_config.json can't be read.
    """
    text = config.get_text_config()
    expected: dict[str, Any] = {"blocks": blocks, "width": width}
    found: dict[str, Any] = {"blocks": text.num_hidden_layers, "width": text.hidden_size}
    for part, own in (("text", text), ("vision", config.vision_config)):
        for key, value in _sizes(architecture[part]).items():
            stated = getattr(own, key, value)
            if key != "num_hidden_layers" or part == "vision":
                expected[f"{part} {key}"], found[f"{part} {key}"] = value, _like(stated, value)
    pixels = folder / "preprocessor_config.json"
    if pixels.is_file():
        noted = read_json(pixels, fix=AGAIN)
        expected |= {"image_mean": list(mean), "image_std": list(std)}
        found |= {key: noted.get(key, expected[key]) for key in ("image_mean", "image_std")}
    different = [key for key in expected if found[key] != expected[key]]
    if different:
        raise ModelError(
            "the snapshot belongs to another model",
            where=folder,
            expected={key: expected[key] for key in different},
            found={key: found[key] for key in different},
            fix=OTHER,
        )


def _sizes(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that decide the network: whole numbers, lists of them, and those inside mappings."""
    found: dict[str, Any] = {}
    for key, value in arguments.items():
        if key in FREE:
            continue
        if isinstance(value, Mapping):
            found |= {key: inside} if (inside := _sizes(value)) else {}
        elif type(value) is int or (isinstance(value, list) and all(type(item) is int for item in value)):
            found[key] = value
    return found


def _like(stated: Any, expected: Any) -> Any:
    """Return what a configuration states in the form in which it is expected: lists, and of mappings the same keys."""
    if isinstance(expected, Mapping):
        return {key: _like(stated.get(key), value) for key, value in expected.items()} if stated else None
    return list(stated) if isinstance(stated, tuple) else stated
