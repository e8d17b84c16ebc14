"""CogVideoX: text-to-video 2B and 5B, image-to-video 5B (published protocol, families of section 2.3).

49 frames squeezed to 720x480; the first latent of the VAE covers one frame, every other one four. With `temporal=paper`
the frames are 0, 1, 3, 5, ..., 95 and neighbouring query frames share a map; with `aligned` two windows of consecutive
frames give each query frame its own. Text and video go through the blocks as two tensors, so nothing is stripped.
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
from extract.model import ModelConfig
from extract.noise import NoiseLevel
from extract.readout import block_readers, reading
from extract.video.base import Draws, VideoAdapter
from extract.video.cogvideox import aether, tiny
from extract.video.cogvideox.components import cogvideox_spec, first_frame_latents, load_text, load_vae, rotary_tables
from extract.weights.parts import WeightSource, check_scheduler, find_parts, load_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

VERSION = 1
"""Increment whenever a value would change."""

FRAMES = 49


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of one CogVideoX model, or of Aether, whose YAML has `settings.geometry_steps`."""
    if "geometry_steps" in model.settings:
        return aether.build(model, variant)
    if variant.size == "tiny":
        model = tiny.shrink(model)
    source = find_parts(model, variant, partial(tiny.write, model, variant.init_seed), tiny.VERSION)
    spec = cogvideox_spec(model, variant, FRAMES)
    network = CogVideoX(model, variant, source, torch_dtype(spec.compute_dtype))
    identity = {
        "adapter_version": VERSION,
        "prompt": "",
        "text_tokens": network.text_tokens,
    }
    if variant.protocol == "paper":
        identity["text_dtype"] = network.text_dtype
    if network.image:
        identity["condition"] = f"first frame of the window, {network.posterior}"
    return VideoAdapter(spec, network, source, identity, variant)


class CogVideoX:
    """The networks of one CogVideoX model."""

    resample = Image.Resampling.LANCZOS

    def __init__(self, model: ModelConfig, variant: Variant, source: WeightSource, dtype: torch.dtype) -> None:
        self._model, self._variant, self._source, self._dtype = model, variant, source, dtype
        parts = model.architecture["transformer"]
        self.image = parts["in_channels"] > parts["out_channels"]
        self.text_tokens = int(parts["max_text_seq_length"])
        paper = variant.protocol == "paper"
        self.posterior = "sample" if paper else "mean"
        self.text_dtype = "float16" if paper else str(model.settings["text_dtype"])
        self._vae_dtype = dtype if paper else torch_dtype("float32")

    def vae_identity(self) -> Mapping[str, Any]:
        """The distribution's mean for the clip in every protocol."""
        return {"dtype": str(self._vae_dtype), "tiled": False, "posterior": "mean"}

    def vae_digest(self) -> str:
        """Shared by models with the same VAE."""
        return self._source.part_digest("vae", self._model.architecture["vae"])

    def prepare(self, first_frame: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """The condition of image-to-video is the window's first frame, which is already given."""
        return {}

    def load(self, depth: int) -> None:
        """Load VAE encoder, empty prompt and `depth` blocks."""
        from diffusers import CogVideoXTransformer3DModel

        self._vae: Any = load_vae(self._model, self._source, self._vae_dtype, self._variant.device)
        if not depth:
            return
        check_scheduler(self._source, {"snr_shift_scale": self._model.settings["snr_shift"]})
        self._transformer: Any = load_part(
            CogVideoXTransformer3DModel, self._source, "transformer", self._model.architecture["transformer"],
            trim={"num_layers": depth}, prune=_without_output, dtype=self._dtype, device=self._variant.device,
        )  # fmt: skip
        self._text = load_text(self._model, self._source, self._variant, self.text_dtype).to(
            self._variant.device, self._dtype
        )

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Mean of the posterior, scaled."""
        posterior = self._vae.encode(video.to(self._vae_dtype)).latent_dist
        latents: Tensor = posterior.mode().float() * self._vae.config.scaling_factor
        return latents

    def condition(
        self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws
    ) -> Mapping[str, Tensor]:
        """For image-to-video: `latents` (B, C, t, y, x), the first frame encoded on its own, followed by zeros."""
        import torch

        if not self.image:
            return {}
        first = first_frame_latents(self._vae, video, draws, sampled=self.posterior == "sample")
        return {"latents": torch.cat([first, torch.zeros_like(latents[:, :, 1:])], dim=2)}

    @property
    def text(self) -> Mapping[str, Tensor]:
        """`text` (1, tokens, width), the empty prompt."""
        return {"text": self._text}

    def hidden(
        self, noisy: Tensor, level: NoiseLevel, condition: Mapping[str, Tensor], blocks: Sequence[int]
    ) -> Mapping[int, Tensor]:
        """Run up to the deepest block and take the video half of its two outputs."""
        import torch

        if condition:
            noisy = torch.cat([noisy, condition["latents"]], dim=1)
        sequence = noisy.transpose(1, 2).to(self._dtype)  # (B, t, C, y, x)
        timestep = torch.full((len(noisy),), int(level.timestep), device=noisy.device)
        rotary = rotary_tables(self._transformer.config, noisy.shape[2:], noisy.device)
        text = self._text.expand(len(noisy), -1, -1)
        readers = block_readers(self._transformer.transformer_blocks, blocks, lambda output: output[0])
        with reading(readers, max(blocks)) as found:
            self._transformer(sequence, text, timestep, image_rotary_emb=rotary, return_dict=False)
        return found


def _without_output(transformer: nn.Module) -> Sequence[str]:
    transformer.norm_final = transformer.norm_out = transformer.proj_out = None  # type: ignore[assignment]
    return ["norm_final.", "norm_out.", "proj_out."]
