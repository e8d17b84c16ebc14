"""Wan 2.1: text-to-video 1.3B and 14B, image-to-video 14B (published protocol, families of section 2.1 and 2.2).

81 consecutive frames squeezed to 832x480; latents of a causal 4x8x8 VAE, normalised per channel; noise once; one
forward with the empty prompt; the residual stream after a block. Text enters by cross attention only.
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
from extract.noise import FlowSchedule, NoiseLevel
from extract.readout import block_readers, reading
from extract.video.base import Draws, VideoAdapter, unit_range, video_spec, without_decoder
from extract.video.prompt import empty_prompt
from extract.video.wan import tiny
from extract.video.wan.first_frame import first_frame_inputs, load_image_encoder
from extract.weights.parts import WeightSource, check_scheduler, find_parts, load_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

VERSION = 1
"""Increment whenever a value would change."""

FRAMES = 81


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of one Wan model."""
    if variant.size == "tiny":
        model = tiny.shrink(model)
    source = find_parts(model, variant, partial(tiny.write, model, variant.init_seed), tiny.VERSION)
    schedule = FlowSchedule(float(model.settings["flow_shift"]))
    spec = video_spec(model, variant, consecutive(FRAMES), schedule, latent_channels=16)
    network = Wan(model, variant, source, torch_dtype(spec.compute_dtype))
    identity = {
        "adapter_version": VERSION,
        "prompt": "",
        "text_tokens": network.text_tokens,
    }
    if network.image:
        identity["condition"] = "first frame"
        if network.clip_dtype != network.dtype:
            identity["image_encoder_dtype"] = str(network.clip_dtype)
    return VideoAdapter(spec, network, source, identity, variant)


class Wan:
    """The networks of one Wan model."""

    resample = Image.Resampling.LANCZOS

    def __init__(self, model: ModelConfig, variant: Variant, source: WeightSource, dtype: torch.dtype) -> None:
        self._model, self._variant, self._source, self.dtype = model, variant, source, dtype
        self.image = "image_encoder" in model.architecture
        paper = variant.protocol == "paper"
        self.text_tokens = int(
            model.settings["paper_text_tokens" if paper and variant.size == "full" else "text_tokens"]
        )
        self._tiled = paper and not self.image
        self._vae_dtype = dtype if paper else torch_dtype("float32")
        self.clip_dtype = torch_dtype("float16") if paper and dtype == torch_dtype("bfloat16") else dtype

    def vae_identity(self) -> Mapping[str, Any]:
        """The distribution's mean in every protocol."""
        return {"dtype": str(self._vae_dtype), "tiled": self._tiled, "posterior": "mean"}

    def vae_digest(self) -> str:
        """Shared by all Wan 2.1 models."""
        return self._source.part_digest("vae", self._model.architecture["vae"])

    def prepare(self, first_frame: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """For image-to-video: see `first_frame_inputs`."""
        if not self.image:
            return {}
        size = (self._model.input_size[0], self._model.input_size[1])
        side = int(self._model.architecture["image_encoder"]["image_size"])
        return first_frame_inputs(first_frame, size, self.resample, side)

    def load(self, depth: int) -> None:
        """Load VAE encoder, empty prompt, `depth` blocks and, for image-to-video, the CLIP image encoder."""
        import torch
        from diffusers import AutoencoderKLWan, WanTransformer3DModel
        from transformers import CLIPVisionModel, UMT5EncoderModel

        parts, device = self._model.architecture, self._variant.device
        load = partial(load_part, source=self._source, device=device)
        self._vae: Any = load(
            AutoencoderKLWan,
            part="vae",
            architecture=parts["vae"],
            trim={},
            prune=without_decoder,
            dtype=self._vae_dtype,
        )
        if self._tiled:
            self._vae.enable_tiling()
        statistics = (self._vae.config.latents_mean, self._vae.config.latents_std)
        self._mean, self._std = (torch.tensor(values, device=device).view(1, -1, 1, 1, 1) for values in statistics)
        if not depth:
            return
        if self.image:
            check_scheduler(self._source, {"flow_shift": self._model.settings["flow_shift"]})
        self._transformer: Any = load(
            WanTransformer3DModel, part="transformer", architecture=parts["transformer"], trim={"num_layers": depth},
            prune=_without_output, dtype=self.dtype,
        )  # fmt: skip
        self._text = empty_prompt(
            UMT5EncoderModel, self._source, "text_encoder", length=self.text_tokens, masked=True,
            width=parts["transformer"]["text_dim"], dtype=self._model.settings["text_dtype"], cache=self._variant.cache,
        ).to(device, self.dtype)  # fmt: skip
        if self.image:
            self._clip = load_image_encoder(
                CLIPVisionModel, self._source, parts["image_encoder"], self.clip_dtype, device
            )

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Mean of the posterior, normalised by the VAE's own statistics."""
        posterior = self._vae.encode(video.to(self._vae_dtype)).latent_dist
        latents: Tensor = (posterior.mode().float() - self._mean) / self._std
        return latents

    def condition(
        self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws
    ) -> Mapping[str, Tensor]:
        """For image-to-video: `latents` (B, 4 + C, t, y, x), mask and latents of [first frame, grey ...]; `image`.

        The mask marks the first latent frame; `image` (B, tokens, width) are states of the CLIP image encoder.
        """
        import torch

        if not self.image:
            return {}
        first = unit_range(inputs["condition"][:, None])
        grey = torch.cat([first, torch.zeros_like(video[:, :, 1:])], dim=2)
        encoded = torch.cat([self.encode(grey[index : index + 1], draws) for index in range(len(grey))])
        mask = torch.zeros_like(latents[:, :4])
        mask[:, :, 0] = 1
        states = self._clip(inputs["clip"].to(self.clip_dtype), output_hidden_states=True).hidden_states[-2]
        return {"latents": torch.cat([mask, encoded], dim=1), "image": states.to(self.dtype)}

    @property
    def text(self) -> Mapping[str, Tensor]:
        """`text` (1, tokens, width), the empty prompt."""
        return {"text": self._text}

    def hidden(
        self, noisy: Tensor, level: NoiseLevel, condition: Mapping[str, Tensor], blocks: Sequence[int]
    ) -> Mapping[int, Tensor]:
        """Run up to the deepest block; the whole sequence is visual."""
        import torch

        extra = {}
        if condition:
            noisy = torch.cat([noisy, condition["latents"]], dim=1)
            extra["encoder_hidden_states_image"] = condition["image"]
        timestep = torch.full((len(noisy),), int(level.timestep), device=noisy.device)
        text = self._text.expand(len(noisy), -1, -1)
        with reading(block_readers(self._transformer.blocks, blocks), max(blocks)) as found:
            self._transformer(noisy.to(self.dtype), timestep, text, return_dict=False, **extra)
        return found


def _without_output(transformer: nn.Module) -> Sequence[str]:
    transformer.proj_out = None  # type: ignore[assignment]
    return ["proj_out."]
