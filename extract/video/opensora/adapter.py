"""Open-Sora 2.0 (published protocol, section 2.5): 19 double and 38 single blocks, counted through from 1 to 57.

129 consecutive frames squeezed to 848x480 (bicubic); the model runs with its first frame as condition, although the
paper lists it as text-to-video. Double blocks return (text, video), and so do single blocks of the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.format.spec import torch_dtype
from extract.adapter import Adapter, Variant
from extract.frames import consecutive
from extract.model import ModelConfig
from extract.noise import NoiseLevel, OpenSoraSchedule
from extract.readout import block_readers, reading
from extract.video.base import Draws, VideoAdapter, video_spec, without_decoder
from extract.video.opensora import tiny
from extract.video.opensora.conversion import load_transformer
from extract.video.prompt import empty_prompt, empty_prompt_pooled
from extract.weights.parts import WeightSource, find_parts, load_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
"""Increment whenever a value would change."""

FRAMES = 129


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of Open-Sora 2.0."""
    if variant.size == "tiny":
        model = tiny.shrink(model)
    source = find_parts(model, variant, partial(tiny.write, model, variant.init_seed), tiny.VERSION)
    plan = consecutive(FRAMES)
    schedule = OpenSoraSchedule((model.input_size[0] // 8, model.input_size[1] // 8), plan.tokens)
    spec = video_spec(model, variant, plan, schedule, model.architecture["vae"]["latent_channels"])
    network = OpenSora(model, variant, source, torch_dtype(spec.compute_dtype))
    identity = {
        "adapter_version": VERSION,
        "prompt": "",
        "text_tokens": model.settings["text_tokens"],
        "condition": f"first frame, {network.posterior}",
    }
    return VideoAdapter(spec, network, source, identity, variant)


class OpenSora:
    """The networks of Open-Sora 2.0."""

    resample = Image.Resampling.BICUBIC

    def __init__(self, model: ModelConfig, variant: Variant, source: WeightSource, dtype: torch.dtype) -> None:
        self._model, self._variant, self._source, self._dtype = model, variant, source, dtype
        self._paper = variant.protocol == "paper"
        self.posterior = "sample" if self._paper else "mean"
        self._vae_dtype = dtype if self._paper else torch_dtype("float32")

    def vae_identity(self) -> Mapping[str, Any]:
        """Tiles of 256 pixels in space, none in time, as the model's own code does it."""
        seed = self._variant.noise_source.seed if self._paper else None
        return {"dtype": str(self._vae_dtype), "tiled": True, "posterior": self.posterior, "seed": seed}

    def vae_digest(self) -> str:
        """Of the VAE's own file; under `paper` latents hold noise."""
        digest = self._source.part_digest("vae", self._model.architecture["vae"])
        return f"{digest}-{self._variant.noise_source.rule}" if self._paper else digest

    def prepare(self, first_frame: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """The condition is the window's first frame, which is there already."""
        return {}

    def load(self, depth: int) -> None:
        """Load VAE encoder, both embeddings of the empty prompt and `depth` blocks."""
        from diffusers import AutoencoderKLHunyuanVideo
        from transformers import CLIPTextModel, T5EncoderModel

        parts, settings, device = self._model.architecture, self._model.settings, self._variant.device
        self._vae: Any = load_part(
            AutoencoderKLHunyuanVideo, self._source, "vae", parts["vae"],
            trim={}, prune=without_decoder, dtype=self._vae_dtype, device=device,
        )  # fmt: skip
        self._vae.use_framewise_encoding = False
        self._vae.enable_tiling()
        if not depth:
            return
        self._transformer = self._load_blocks(depth)
        transformer = parts["transformer"]
        self._text = empty_prompt(
            T5EncoderModel, self._source, "text_encoder", length=settings["text_tokens"], masked=False,
            width=transformer["joint_attention_dim"], dtype=settings["text_dtype"], cache=self._variant.cache,
        ).to(device, self._dtype)  # fmt: skip
        self._pooled = empty_prompt_pooled(
            CLIPTextModel, self._source, "text_encoder_2", length=settings["clip_tokens"],
            width=transformer["pooled_projection_dim"], cache=self._variant.cache,
        ).to(device, self._dtype)  # fmt: skip

    def _load_blocks(self, depth: int) -> Any:
        from diffusers import FluxTransformer2DModel

        architecture = self._model.architecture["transformer"]
        double = min(depth, architecture["num_layers"])
        trim = {"num_layers": double, "num_single_layers": depth - double}
        if "transformer" in self._source.folders:
            path = self._source.folders["transformer"]
            return load_transformer(path, {**architecture, **trim}, self._dtype, self._variant.device)
        return load_part(
            FluxTransformer2DModel, self._source, "transformer", architecture,
            trim=trim, prune=lambda module: [], dtype=self._dtype, device=self._variant.device,
        )  # fmt: skip

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Mean of the posterior (a sample of it under `paper`), scaled."""
        return self._latents(video, draws, "posterior")

    def _latents(self, video: Tensor, draws: Draws, role: str) -> Tensor:
        posterior = self._vae.encode(video.to(self._vae_dtype)).latent_dist
        latents: Tensor = posterior.mean.float()
        if self._paper:
            latents = latents + posterior.std.float() * draws(role, latents.shape[1:])
        return latents * float(self._vae.config.scaling_factor)

    def condition(
        self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws
    ) -> Mapping[str, Tensor]:
        """`packed` (B, tokens, channels): mask of the first latent frame, that frame encoded alone, then zeros."""
        import torch

        condition = latents.new_zeros(len(latents), 1 + latents.shape[1], *latents.shape[2:])
        condition[:, 0, 0] = 1
        first = [self._latents(video[i : i + 1, :, :1], draws.one(i), "condition") for i in range(len(video))]
        condition[:, 1:, :1] = torch.cat(first)
        return {"packed": packed(condition)}

    @property
    def text(self) -> Mapping[str, Tensor]:
        """`text` (1, tokens, width) and `pooled` (1, width), the empty prompt by T5 and by CLIP."""
        return {"text": self._text, "pooled": self._pooled}

    def hidden(
        self, noisy: Tensor, level: NoiseLevel, condition: Mapping[str, Tensor], blocks: Sequence[int]
    ) -> Mapping[int, Tensor]:
        """Run up to the deepest block and take the video half of its two outputs."""
        import torch

        count, _, *shape = noisy.shape
        sequence = torch.cat([packed(noisy), condition["packed"]], dim=-1).to(self._dtype)
        axes = [torch.arange(size, device=noisy.device) for size in (shape[0], shape[1] // 2, shape[2] // 2)]
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3).float()
        timestep = torch.full((count,), level.timestep, device=noisy.device)
        chain = [*self._transformer.transformer_blocks, *self._transformer.single_transformer_blocks]
        with reading(block_readers(chain, blocks, lambda output: output[1]), max(blocks)) as found:
            self._transformer(
                hidden_states=sequence, encoder_hidden_states=self._text.expand(count, -1, -1),
                pooled_projections=self._pooled.expand(count, -1), timestep=timestep, img_ids=places,
                txt_ids=places.new_zeros(self._text.shape[1], 3), return_dict=False,
            )  # fmt: skip
        return found


def packed(latents: Tensor) -> Tensor:
    """Turn latents (B, C, t, y, x) into tokens of 2x2 cells, (B, t * y/2 * x/2, C * 4), row-major."""
    count, channels, frames, height, width = latents.shape
    cells = latents.reshape(count, channels, frames, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)
