"""The parts of a model: where the weights of each come from, and networks with just the blocks that are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import commands
from configs.errors import ModelError
from configs.files import read_json
from configs.identity import digest
from extract.adapter import Variant
from extract.model import ModelConfig
from extract.weights.checkpoint import AGAIN, Checkpoint, explained, fill, on_meta, seeded
from extract.weights.snapshot import content_hash, find_weights, hash_memory, identity_of
from extract.weights.twins import tiny_snapshot

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class WeightSource:
    """Where the parts of one model come from.

    Attributes:
        folders: part ("transformer", "vae", ...) -> folder, or a file without configuration; empty for random weights
            at full size.
        roots: "main", and parts that come from elsewhere -> snapshot; empty for random weights.
        drawn: how random weights were drawn; empty for others.
        seed: seed of random weights.
        memory: folder in which hashes of files are remembered.
        again: command that downloads them, for messages.
    """

    folders: Mapping[str, Path]
    roots: Mapping[str, Path] = field(default_factory=dict)
    drawn: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    memory: Path | None = None
    again: str = ""

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """What identifies the weights in a fingerprint; files whose hash isn't remembered are read for it.

        Raises:
            ModelError: a downloaded file is damaged.
        """
        found = {name: identity_of(root, self.memory, self.again) for name, root in self.roots.items()}
        return self.drawn or found

    def part_digest(self, part: str, architecture: Mapping[str, Any]) -> str:
        """Return what identifies one part by content, so that siblings with the same VAE are seen to share it."""
        if part in self.folders:
            return content_hash(self.folders[part], self.memory)[:20]
        drawn_on = self.drawn.get("drawn_on")
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
    if variant.random:
        init = "fan-in" if variant.size == "tiny" else "library"
        identity = {"random": init, "size": variant.size, "seed": variant.init_seed, "version": version}
        identity["architecture"] = digest(model.architecture)[:12]
        if variant.size != "tiny":
            if not variant.device.startswith("cpu"):  # a GPU's generator draws other numbers than the CPU's
                identity["drawn_on"] = variant.device.partition(":")[0]
            return WeightSource({}, drawn=identity, seed=variant.init_seed)
        folder = tiny_snapshot(model.name, str(identity["architecture"]), version, variant, tiny)
        places = {part: folder / _place(model, part) for part in model.architecture}
        return WeightSource(places, drawn=identity, seed=variant.init_seed)
    find = partial(find_weights, model=model.name, twin=variant.twin)
    main = find(variant.weights, model.hub_id, model.revision)
    folders, roots = {}, {"main": main}
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
                else commands.extract("download", model=model.name),
            )
        if root != main:
            roots[part] = root
    again = commands.extract("download", model=model.name) if variant.weights == "hub" else ""
    return WeightSource(folders, roots, memory=hash_memory(variant), again=again)


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
        with seeded(source.seed), torch.device(device):
            module: nn.Module = cls(**{**architecture, **trim})
        prune(module)
        for name, parameter in module.named_parameters():
            parameter.data = parameter.data.to(torch.float32 if stays_float32(name) else dtype)
        return module.to(device).eval().requires_grad_(False)
    fix = "check that weights= names a complete copy of the repository, and download it again if it does"
    with explained(f"the {part} in this folder has no readable configuration", folder, fix):
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
    with explained(f"the configuration of the {part} describes no network that can be built", folder, fix), on_meta():
        module = cls.from_config(config, **trim)
    present = set(module.state_dict())
    left_out = tuple(prune(module))

    def dropped(name: str) -> bool:
        return name.startswith(left_out) or (name not in present and _trimmed_block(name, present))

    return fill(module, Checkpoint(folder), dropped=dropped, dtype=dtype, float32=stays_float32, device=device)


def _is_size(key: str, value: Any) -> bool:
    """Whether an argument decides the shape of the network; scales and default inputs may be the snapshot's own."""
    return isinstance(value, int) and not isinstance(value, bool) and not key.startswith("sample_")


def check_scheduler(source: WeightSource, expected: Mapping[str, Any]) -> None:
    """Compare the snapshot's noise schedule, where it has one, with the model's YAML.

    Raises:
        ModelError: they differ, so that noise levels would not mean what their names say.
        CorruptionError: the file can't be read.
    """
    for folder in source.folders.values():
        file = folder.parent / "scheduler" / "scheduler_config.json"
        if file.is_file():
            found = read_json(file, fix=AGAIN)
            wrong = {key: found[key] for key, value in expected.items() if key in found and found[key] != value}
            if wrong:
                raise ModelError(
                    "this snapshot has another noise schedule",
                    where=file,
                    expected=expected,
                    found=wrong,
                    fix="check that weights= names this model",
                )


def _trimmed_block(name: str, present: set[str]) -> bool:
    """Whether `blocks.27.attn.weight` is the like of a `blocks.0.attn.weight` that the trimmed network has."""
    words = name.split(".")
    numbers = [index for index, word in enumerate(words) if word.isdigit()]
    return bool(numbers) and ".".join(["0" if i == numbers[0] else word for i, word in enumerate(words)]) in present
