"""What all vision-language backbones do alike: 20 frames as images of one prompt, one forward, features at the images.

A family says how pixels become inputs and how tensors are called; the rest is
here. Tap `llm` is the language model's residual stream at the visual tokens after block k; tap `vision` is what the
vision tower and its projector hand to the language model, the control that has seen neither text nor other frames.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.format.spec import torch_dtype
from configs import commands
from configs.errors import ConfigError
from configs.identity import digest
from extract.adapter import Adapter, BackboneSpec, Batch, ClipInput, Tap, TapSpec, Variant
from extract.frames import SLOTS, image_plan
from extract.model import ModelConfig
from extract.readout import Pick, reading
from extract.vlm.family import Family
from extract.vlm.network import INIT_VERSION, OTHER, check_family, check_snapshot, load_network, untrained_network
from extract.vlm.preprocess import PREPROCESS_VERSION, normalise, resize_frames
from extract.vlm.text import chat_text, read_prompt, token_sequence
from extract.vlm.twin import TINY_VERSION as TINY_VERSION
from extract.vlm.twin import byte_tokenizer, save_snapshot
from extract.weights.checkpoint import explained
from extract.weights.libraries import compute_dtype, load_tokenizer, model_dtype, quiet_libraries
from extract.weights.snapshot import find_weights, hash_memory, identity_of
from extract.weights.twins import tiny_snapshot

if TYPE_CHECKING:
    from torch import Tensor, nn

PATCHES_PER_TOKEN = 4
"""All these language models merge 2 x 2 patches into one visual token."""
VERSION = 1
"""Raised when the code shared by the families would give other values."""


class VisionLanguageAdapter(Adapter):
    """One vision-language model in one variant; see `extract.adapter.Adapter`.

    Attributes:
        model, variant: which model, and how it is run.
        family: what is its family's own.
        layout: sizes of pictures, grid and network.
        prompt: what it reads besides the images.
    """

    def __init__(self, model: ModelConfig, variant: Variant, family: Family) -> None:
        self.model, self.variant, self.family = model, variant, family
        self._tiny = variant.size == "tiny"
        self.layout = layout = family.layout(model, tiny=self._tiny)
        self.prompt = read_prompt(model.settings, model.name, preface=variant.preface, question=variant.prompt)
        self.spec = BackboneSpec(
            name=model.name,
            family=family.name,
            frames=image_plan(),
            input_size=layout.resize[-1],
            taps={
                "llm": TapSpec(blocks=layout.blocks, grid=layout.grid, channels=layout.width),
                "vision": TapSpec(blocks=0, grid=layout.grid, channels=layout.width),
            },
            compute_dtype=compute_dtype(model, variant),
            store_dtype=model_dtype(model, variant),
        )

    def identity(self) -> Mapping[str, Any]:
        """See `Adapter.identity`. The attention kernel is the library's `sdpa` on every device."""
        return {
            "adapter": {"family": self.family.name, "version": self.family.version, "shared": VERSION},
            "weights": self._weights_identity,
            "preprocess": {
                "version": PREPROCESS_VERSION,
                "filter": "pillow bicubic",
                "resize": self.layout.resize,
                "mean": self.family.mean,
                "std": self.family.std,
            },
            "frames": self.spec.frames.positions,
            "short_clips": "last frame repeated",
            "prompt": dataclasses.asdict(self.prompt),
            "compute_dtype": self.spec.compute_dtype,
        }

    def preprocess(self, clip: ClipInput) -> Mapping[str, Tensor]:
        """See `Adapter.preprocess`: `pixels` (20, H, W, 3) uint8; what follows the resize runs on the device."""
        import torch

        return {"pixels": torch.from_numpy(resize_frames(clip.frames, *self.layout.resize))}

    def load(self, taps: Sequence[Tap]) -> None:
        """See `Adapter.load`."""
        import torch

        if not taps:
            raise ConfigError("no tap is requested", expected="at least one block of tap llm, or tap vision")
        for tap in taps:
            self.spec.check(tap)
        self._depth = max(tap.block or 0 for tap in taps)
        self._dtype = torch_dtype(self.spec.compute_dtype)
        self._network: Any = None  # an earlier one must go before the next one comes
        if self.folder:
            check_family(self.folder, self.family.model_types, self.model.name)
        with quiet_libraries():
            again = f"fetch the snapshot again: {commands.extract('download', model=self.model.name)}"
            tokenizer = load_tokenizer(self.folder, again) if self.folder else byte_tokenizer(self.family.markup)
            self._network = self._build(self.folder, tokenizer)
        rows, columns = grid = self.layout.grid
        text = chat_text(self.prompt, self.family.markup, SLOTS)
        sequence = token_sequence(tokenizer, text, self.family.markup, [rows * columns] * SLOTS)
        ids = torch.tensor([sequence.ids])  # positions follow from values, which a network without memory has not
        positions = self.family.positions(self._network, ids, grid) if self._depth else None
        self._ids = ids.to(self.variant.device)
        self._positions = None if positions is None else positions.to(self.variant.device)
        self._visual = torch.tensor(sequence.visual, device=self.variant.device)
        self._readers = {tap.key: self._reader(tap) for tap in taps}

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Adapter.forward`."""
        import torch

        clips, images = batch.inputs["pixels"].shape[:2]
        with torch.inference_mode(), reading(self._readers) as seen:
            inputs = self.family.image_arguments(self._pixels(batch))
            if self._depth == 0:
                self._network.get_image_features(**inputs)
            else:
                positions = None if self._positions is None else self._positions.expand(-1, clips, -1)
                self._network(input_ids=self._ids.expand(clips, -1), position_ids=positions, use_cache=False, **inputs)
            return {key: tokens.reshape(clips, images, *self.layout.grid, -1) for key, tokens in seen.items()}

    def network_inputs(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Adapter.network_inputs`; what is the same for all clips comes once.

        `token_ids` (L,) of the prompt; `visual` (20 * y * x,), places of the visual tokens in it; `position_ids`
        (k, 1, L) for families that have positions of their own; `pixels` (B * 20, 3, height, width), normalised, in the
        dtype of the arithmetic, before the family cuts them into patches.
        """
        import torch

        with torch.inference_mode():
            found = {"token_ids": self._ids[0], "visual": self._visual, "pixels": self._pixels(batch)}
        return found if self._positions is None else {**found, "position_ids": self._positions}

    def _pixels(self, batch: Batch) -> Tensor:
        pixels = batch.inputs["pixels"].flatten(0, 1)
        return normalise(pixels, self.family.mean, self.family.std).to(self._dtype)

    @property
    def network(self) -> Any:
        """The loaded library network: vision tower and the requested decoder blocks."""
        return self._network

    @property
    def tokens(self) -> int:
        """Length of one clip's prompt, visual tokens included; known once loaded."""
        return int(self._ids.shape[1])

    def modules(self) -> Sequence[nn.Module]:
        """See `Adapter.modules`."""
        return [self._network]

    def flops(self) -> int:
        """See `Adapter.flops`: two per weight and token, plus the decoder's attention.

        The attention of the vision tower, a few per cent, is left out.
        """
        tokens = self.tokens
        rows, columns = self.layout.grid
        patches = SLOTS * PATCHES_PER_TOKEN * rows * columns
        weights: dict[str, int] = {
            name: value.numel()
            for name, value in self._network.named_parameters()
            if not name.endswith("embed_tokens.weight")
        }
        decoder = sum(count for name, count in weights.items() if name.startswith("language_model."))
        blocks = self._network.language_model.layers
        attention: int = sum(4 * tokens**2 * int(block.self_attn.q_proj.out_features) for block in blocks)
        return 2 * patches * (sum(weights.values()) - decoder) + 2 * tokens * decoder + attention

    def _reader(self, tap: Tap) -> tuple[nn.Module, Pick]:
        if tap.block is None:
            return self.family.vision_end(self._network), self.family.vision_tokens
        block = self._network.language_model.layers[tap.block - 1]
        return block, lambda output: (output[0] if isinstance(output, tuple) else output)[:, self._visual]

    def _build(self, folder: Path | None, tokenizer: Any) -> nn.Module:
        family, layout = self.family, self.layout
        place: dict[str, Any] = {"dtype": self._dtype, "device": self.variant.device}
        if folder is None:
            architecture = family.architecture(self.model, tiny=self._tiny)
            config = family.config(architecture, tokenizer.convert_tokens_to_ids)
            return untrained_network(config, depth=self._depth, seed=self.variant.init_seed, **place)
        with explained("config.json describes no network that can be built", folder, OTHER):
            config = family.read_config(folder)
            architecture = family.architecture(self.model, tiny=self._tiny)
            check_snapshot(folder, config, layout.blocks, layout.width, architecture, family.mean, family.std)
        config.image_token_id = tokenizer.convert_tokens_to_ids(family.markup.image)  # not stated in every layout
        return load_network(config, family.checkpoint(folder), family.rename, depth=self._depth, **place)

    @property
    def _untrained(self) -> bool:
        return self.variant.weights == "random" or (self._tiny and self.variant.weights == "hub")

    @cached_property
    def folder(self) -> Path | None:
        """Snapshot to load, made first for a tiny twin; None for untrained weights at full size."""
        model, variant = self.model, self.variant
        if not self._untrained:
            return find_weights(variant.weights, model.hub_id, model.revision, model=model.name, twin=variant.twin)
        if not self._tiny:
            return None
        write = partial(save_snapshot, self.family, model, seed=variant.init_seed)
        return tiny_snapshot(model.name, self._architecture, TINY_VERSION, variant, write)

    @property
    def _architecture(self) -> str:
        return digest(self.family.architecture(self.model, tiny=self._tiny))[:12]

    @cached_property
    def _weights_identity(self) -> Mapping[str, Any]:
        if not self._untrained and self.folder:
            again = commands.extract("download", model=self.model.name) if self.variant.weights == "hub" else ""
            return identity_of(self.folder, hash_memory(self.variant), again)
        init, version = ("fan-in", TINY_VERSION) if self._tiny else ("library", INIT_VERSION)
        known = {"random": init, "version": version, "architecture": self._architecture}
        return {**known, "size": self.variant.size, "seed": self.variant.init_seed}
