"""What CogVideoX and the models built on it share: windows, VAE encoder, prompt, rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from extract.adapter import BackboneSpec, Variant
from extract.frames import aligned, interleaved
from extract.model import ModelConfig
from extract.noise import CogVideoXSchedule
from extract.video.base import Draws, video_spec, without_decoder
from extract.video.prompt import embedded_prompt
from extract.weights.parts import WeightSource, load_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def cogvideox_spec(model: ModelConfig, variant: Variant, frames: int, *, whole_network: bool = False) -> BackboneSpec:
    """Return the specification of a model that takes windows of `frames` frames."""
    plan = aligned(frames) if variant.temporal == "aligned" else interleaved(frames)
    schedule = CogVideoXSchedule(float(model.settings["snr_shift"]))
    channels = model.architecture["vae"]["latent_channels"]
    return video_spec(model, variant, plan, schedule, channels, whole_network=whole_network)


def load_vae(model: ModelConfig, source: WeightSource, dtype: torch.dtype, device: str) -> Any:
    """Load the encoder half of the VAE."""
    from diffusers import AutoencoderKLCogVideoX

    return load_part(
        AutoencoderKLCogVideoX, source, "vae", model.architecture["vae"],
        trim={}, prune=without_decoder, dtype=dtype, device=device,
    )  # fmt: skip


def load_text(model: ModelConfig, source: WeightSource, variant: Variant, dtype: str) -> Tensor:
    """Return the prompt's embedding, computed in `dtype`; the encoder sees no padding mask."""
    from transformers import T5EncoderModel

    parts = model.architecture["transformer"]
    return embedded_prompt(
        T5EncoderModel, source, "text_encoder", variant, length=parts["max_text_seq_length"],
        width=parts["text_embed_dim"], masked=False, dtype=dtype,
    )  # fmt: skip


def first_frame_latents(vae: Any, video: Tensor, draws: Draws, *, sampled: bool) -> Tensor:
    """Encode the first frame of every video as a video of one frame: (B, C, 1, y, x) float32, scaled."""
    import torch

    encoded = []
    for index in range(len(video)):
        posterior = vae.encode(video[index : index + 1, :, :1].to(vae.dtype)).latent_dist
        latents = posterior.mean.float()
        if sampled:
            latents = latents + posterior.std.float() * draws.one(index)("condition", latents.shape[1:])
        encoded.append(latents * vae.config.scaling_factor)
    return torch.cat(encoded)


def rotary_tables(config: Any, shape: Sequence[int], device: torch.device, stretch: float = 1.0) -> Any:
    """Return the rotary tables of a latent grid (t, y, x); None for the model with sine positions.

    Args:
        config: configuration of the transformer.
        shape: latent frames, rows and columns.
        device: where the tables go.
        stretch: factor of the time axis (Aether: 12 / frames per second).
    """
    import torch
    from diffusers.models.embeddings import get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    if not config.use_rotary_positional_embeddings:
        return None
    patch = config.patch_size
    grid = (shape[1] // patch, shape[2] // patch)
    crops = get_resize_crop_region_for_grid(grid, config.sample_width // patch, config.sample_height // patch)
    cos, sin = get_3d_rotary_pos_embed(config.attention_head_dim, crops, grid, shape[0], device=device)
    if stretch != 1.0:
        cos, sin = cos.clone(), sin.clone()
        channels = config.attention_head_dim // 4  # of the time axis, pairs of equal angles
        rates = 1.0 / 10000 ** (torch.arange(0, channels, 2, device=device).float() / channels)
        angles = (torch.arange(shape[0], device=device).float() * stretch)[:, None] * rates
        angles = angles.repeat_interleave(2, dim=1).repeat_interleave(grid[0] * grid[1], dim=0)
        cos[:, :channels], sin[:, :channels] = angles.cos(), angles.sin()
    return cos, sin
