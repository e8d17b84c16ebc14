"""Small parts that the families of video generation models have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from extract.adapter import BackboneSpec, TapSpec, Variant
from extract.frames import FramePlan
from extract.model import ModelConfig
from extract.noise import NoiseSchedule
from extract.weights.checkpoint import seeded
from extract.weights.libraries import compute_dtype, load_library_model, model_dtype
from extract.weights.parts import WeightSource

if TYPE_CHECKING:
    import torch
    from torch import nn


def video_spec(
    model: ModelConfig,
    variant: Variant,
    frames: FramePlan,
    schedule: NoiseSchedule,
    latent_channels: int,
    *,
    whole_network: bool = False,
) -> BackboneSpec:
    """Return the specification of a model with a VAE of factor 8 and patches of 2x2 latents.

    Args:
        model, variant: the model and how it is run.
        frames: its windows.
        schedule: its noise levels.
        latent_channels: channels of the tap `vae`.
        whole_network: whether all blocks run whatever the tap.
    """
    height, width = model.input_size
    return BackboneSpec(
        name=model.name,
        family=model.family,
        frames=frames,
        input_size=(height, width),
        taps={
            "dit": TapSpec(blocks=model.blocks, grid=(height // 16, width // 16), channels=model.width, noisy=True),
            "vae": TapSpec(blocks=0, grid=(height // 8, width // 8), channels=latent_channels),
        },
        compute_dtype=compute_dtype(model, variant),
        store_dtype=model_dtype(model, variant),
        schedule=schedule,
        whole_network=whole_network,
    )


def without_decoder(vae: nn.Module) -> Sequence[str]:
    """Leave the VAE's decoder out; returns the prefixes of its tensors."""
    vae.decoder = vae.post_quant_conv = None  # type: ignore[assignment]
    return ["decoder.", "post_quant_conv."]


def load_image_encoder(
    cls: Any, source: WeightSource, architecture: Mapping[str, Any], dtype: torch.dtype, device: str
) -> Any:
    """Load a CLIP image encoder, or make one from the seed."""
    import torch

    if "image_encoder" in source.folders:
        return load_library_model(cls, source.folders["image_encoder"], dtype=dtype).to(device)
    with seeded(source.seed), torch.device(device):
        return cls(cls.config_class(**architecture)).to(device, dtype).eval().requires_grad_(False)
