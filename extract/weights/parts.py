"""Building networks with just the blocks that are needed, and reading hidden states while they run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import ModelError
from configs.identity import digest
from extract.weights import checkpoint as weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from extract.adapter import Variant
    from extract.model import ModelConfig


class _Reached(Exception):
    """The deepest tap has been read; nothing after it needs to run."""


@contextmanager
def reading(
    blocks: Sequence[nn.Module] | nn.ModuleList,
    wanted: Sequence[int],
    pick: Callable[[Any], Tensor] = lambda output: output,
) -> Iterator[dict[int, Tensor]]:
    """Collect the output of the wanted blocks (counted from 1) of whatever runs inside, and stop after the deepest.

    Args:
        blocks: the transformer blocks.
        wanted: numbers of blocks that have run when a hidden state is read.
        pick: takes the hidden state of the visual tokens from a block's output.
    """
    found: dict[int, Tensor] = {}
    deepest = max(wanted)

    def hook(number: int) -> Callable[..., None]:
        def read(_module: object, _inputs: object, output: Any) -> None:
            found[number] = pick(output)
            if number == deepest:
                raise _Reached

        return read

    handles = [blocks[number - 1].register_forward_hook(hook(number)) for number in wanted]
    try:
        with suppress(_Reached):
            yield found
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class WeightSource:
    """Where the parts of one model come from.

    Attributes:
        folders: part ("transformer", "vae", ...) -> folder, or a file without configuration; empty for random weights
            at full size.
        identity: what identifies them in a fingerprint.
        seed: seed of random weights.
    """

    folders: Mapping[str, Path]
    identity: Mapping[str, Any]
    seed: int = 0

    def part_digest(self, part: str, architecture: Mapping[str, Any]) -> str:
        """Return what identifies one part by content, so that siblings with the same VAE are seen to share it."""
        if part in self.folders:
            return weights.content_hash(self.folders[part])[:20]
        drawn_on = self.identity.get("drawn_on")
        return digest({"seed": self.seed, "drawn_on": drawn_on, "part": part, "architecture": architecture})[:20]


def find_parts(model: ModelConfig, variant: Variant, tiny: Callable[[Path], None], version: int) -> WeightSource:
    """Find the weights of every part of a model, or say that they are random.

    Args:
        model: the model; with `size=tiny` already the small twin.
        variant: the user's choices.
        tiny: writes the tiny snapshot into an empty folder.
        version: version of the tiny twin's recipe.

    Raises:
        ModelError: the weights are not on this machine.
    """
    from extract.weights.twins import tiny_snapshot

    if variant.random:
        init = "fan-in" if variant.size == "tiny" else "library"
        identity = {"random": init, "size": variant.size, "seed": variant.init_seed, "version": version}
        identity["architecture"] = digest(model.architecture)[:12]
        if variant.size != "tiny":
            if not variant.device.startswith("cpu"):  # a GPU's generator draws other numbers than the CPU's
                identity["drawn_on"] = variant.device.partition(":")[0]
            return WeightSource({}, identity, variant.init_seed)
        folder = tiny_snapshot(model.name, str(identity["architecture"]), version, variant, tiny)
        return WeightSource(
            {part: folder / _place(model, part) for part in model.architecture}, identity, variant.init_seed
        )
    find = partial(weights.find, model=model.name, twin=variant.twin)
    main = find(variant.weights, model.hub_id, model.revision)
    folders, known = {}, {"main": weights.identity_of(main)}
    for part in model.architecture:
        other = model.parts.get(part)
        place = _place(model, part)
        root = main if other is None or (main / place).exists() else find("hub", other, None)
        folders[part] = root / place
        if not folders[part].exists():
            raise ModelError(
                f"the {part} of {model.name} is not in this snapshot",
                where=root,
                expected=place,
                fix=f"weights= must be a copy of the whole repository, like {model.hub_id}"
                if variant.weights != "hub"
                else f"python -m extract download model={model.name}",
            )
        if root != main:
            known[part] = weights.identity_of(root)
    return WeightSource(folders, known)


def _place(model: ModelConfig, part: str) -> str:
    """Return where a part lies in its snapshot: a folder of its own name, unless the model's YAML says otherwise."""
    return str(model.settings.get("places", {}).get(part, part))


def load_part(
    cls: Any,
    source: WeightSource,
    part: str,
    architecture: Mapping[str, Any],
    *,
    trim: Mapping[str, int],
    prune: Callable[[nn.Module], Sequence[str]],
    dtype: torch.dtype,
    device: str,
) -> Any:
    """Build one diffusers network with only what is needed, and fill it from its files or from the seed.

    Args:
        cls: the class of the installed diffusers.
        source: where the weights are.
        part: which part this is.
        architecture: constructor arguments by the model's YAML; must agree with the snapshot's own configuration.
        trim: constructor arguments that leave blocks out, for example {"num_layers": 21}.
        prune: removes what is never run (decoders, output layers) from the built module and returns the prefixes of
            checkpoint names that are left out with it; trimmed blocks are recognised without it.
        dtype, device: of the result; modules that the class keeps in float32 stay there.

    Raises:
        ModelError: the snapshot describes another network, or its tensors don't fit.
    """
    import torch

    kept = tuple(getattr(cls, "_keep_in_fp32_modules", None) or ())

    def stays_float32(name: str) -> bool:
        return any(word in name.split(".") for word in kept)

    folder = source.folders.get(part)
    if folder is None:
        with weights.seeded(source.seed), torch.device(device):
            module: nn.Module = cls(**{**architecture, **trim})
        prune(module)
        for name, parameter in module.named_parameters():
            parameter.data = parameter.data.to(torch.float32 if stays_float32(name) else dtype)
        return module.to(device).eval().requires_grad_(False)
    config = dict(architecture if folder.is_file() else cls.load_config(folder, local_files_only=True))
    different = {
        key: config[key]
        for key, value in architecture.items()
        if key in config and config[key] != value and _is_size(key, value)
    }
    if different:
        raise ModelError(
            f"the {part} in this folder is another network",
            where=folder,
            expected={key: architecture[key] for key in different},
            found=different,
            fix="check that weights= names this model",
        )
    with weights.on_meta():
        module = cls.from_config(config, **trim)
    present = set(module.state_dict())
    left_out = tuple(prune(module))

    def dropped(name: str) -> bool:
        return name.startswith(left_out) or (name not in present and _trimmed_block(name, present))

    return weights.fill(
        module, weights.Checkpoint(folder), dropped=dropped, dtype=dtype, float32=stays_float32, device=device
    )


def _is_size(key: str, value: Any) -> bool:
    """Whether an argument decides the shape of the network; scales and default inputs may be the snapshot's own."""
    return isinstance(value, int) and not isinstance(value, bool) and not key.startswith("sample_")


def check_scheduler(source: WeightSource, expected: Mapping[str, Any]) -> None:
    """Compare the snapshot's noise schedule, where it has one, with the model's YAML.

    Raises:
        ModelError: they differ, so that noise levels would not mean what their names say.
    """
    for folder in source.folders.values():
        file = folder.parent / "scheduler" / "scheduler_config.json"
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            wrong = {key: found[key] for key, value in expected.items() if key in found and found[key] != value}
            if wrong:
                raise ModelError("this snapshot has another noise schedule", where=file, expected=expected, found=wrong)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep diffusers and transformers from drawing bars and printing lists while they load or save."""
    import diffusers
    import transformers

    before = diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled(), diffusers.logging.is_progress_bar_enabled()
    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.logging.set_verbosity(before[0])
        transformers.logging.set_verbosity(before[1])
        if bars[0]:
            transformers.logging.enable_progress_bar()
        if bars[1]:
            diffusers.logging.enable_progress_bar()


def _trimmed_block(name: str, present: set[str]) -> bool:
    """Whether `blocks.27.attn.weight` is the like of a `blocks.0.attn.weight` that the trimmed network has."""
    words = name.split(".")
    numbers = [index for index, word in enumerate(words) if word.isdigit()]
    return bool(numbers) and ".".join(["0" if i == numbers[0] else word for i, word in enumerate(words)]) in present


def torch_dtype(name: str) -> torch.dtype:
    """Return the dtype called "float32", "bfloat16" or "float16"."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def model_dtype(model: ModelConfig, variant: Variant) -> str:
    """Return the dtype in which the model is meant to run, and its features to be stored."""
    return model.paper_dtype if variant.protocol == "paper" and model.paper_dtype else model.dtype


def compute_dtype(model: ModelConfig, variant: Variant) -> str:
    """Return the dtype of the arithmetic: as asked for, else float32 on CPU and the model's own on an accelerator."""
    if variant.dtype != "auto":
        return variant.dtype
    return "float32" if variant.device.startswith("cpu") else model_dtype(model, variant)
