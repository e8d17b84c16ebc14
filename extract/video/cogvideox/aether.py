"""Aether: CogVideoX-5B that generates disparity and camera rays beside the picture (published protocol, section 2.4).

41 frames per window. First the model reconstructs geometry: four stochastic denoising steps of all 42 blocks, with the
clip as condition. Then picture and geometry latents together are noised once, and the features are read in one forward
with the first frame as condition. Only that second forward stops early.
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
from extract.video.cogvideox import tiny
from extract.video.cogvideox.components import cogvideox_spec, first_frame_latents, load_text, load_vae, rotary_tables
from extract.weights.parts import WeightSource, check_scheduler, find_parts, load_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
"""Increment whenever a value would change."""

FRAMES = 41
RAYS = 24
"""Channels of the camera rays among the latents."""


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of Aether."""
    if variant.size == "tiny":
        model = tiny.shrink(model)
    source = find_parts(model, variant, partial(tiny.write, model, variant.init_seed), tiny.VERSION)
    spec = cogvideox_spec(model, variant, FRAMES, whole_network=True)
    network = Aether(model, variant, source, torch_dtype(spec.compute_dtype))
    identity = {
        "family": "aether",
        "adapter_version": VERSION,
        "prompt": "",
        "condition": f"first frame of the window, {network.posterior}",
        "geometry_steps": model.settings["geometry_steps"],
        "fps": model.settings["fps"],
    }
    return VideoAdapter(spec, network, source, identity, variant)


class Aether:
    """The networks of Aether."""

    resample = Image.Resampling.LANCZOS

    def __init__(self, model: ModelConfig, variant: Variant, source: WeightSource, dtype: torch.dtype) -> None:
        self._model, self._variant, self._source, self._dtype = model, variant, source, dtype
        self._paper = variant.protocol == "paper"
        self.posterior = "sample" if self._paper else "mean"
        self._vae_dtype = dtype if self._paper else torch_dtype("float32")
        self._depth = 0

    def vae_identity(self) -> Mapping[str, Any]:
        """The distribution's mean for the clip; a sample of it as condition of the reconstruction under `paper`."""
        return {"dtype": str(self._vae_dtype), "tiled": self._paper, "posterior": "mean", "condition": self.posterior}

    def vae_digest(self) -> str:
        """With geometry, latents depend on the transformer and its noise too, so they are not shared with CogVideoX."""
        digest = self._source.part_digest("vae", self._model.architecture["vae"])
        if not self._depth:
            return digest
        transformer = self._source.part_digest("transformer", self._model.architecture["transformer"])
        noise = self._variant.noise_source
        return f"{digest}-{transformer}-{noise.seed}-{noise.rule}-{self._dtype}"

    def prepare(self, first_frame: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """The condition is the window's first frame, which is there already."""
        return {}

    def load(self, depth: int) -> None:
        """Load VAE encoder and, for features, the empty prompt and the whole transformer."""
        from diffusers import CogVideoXTransformer3DModel

        self._depth = depth
        self._vae: Any = load_vae(self._model, self._source, self._vae_dtype, self._variant.device)
        if self._paper:
            self._vae.enable_tiling()
        if not depth:
            return
        check_scheduler(self._source, {"snr_shift_scale": self._model.settings["snr_shift"]})
        self._transformer: Any = load_part(
            CogVideoXTransformer3DModel, self._source, "transformer", self._model.architecture["transformer"],
            trim={}, prune=lambda transformer: [], dtype=self._dtype, device=self._variant.device,
        )  # fmt: skip
        self._text = load_text(self._model, self._source, self._variant, self._model.settings["text_dtype"]).to(
            self._variant.device, self._dtype
        )

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Latents of the picture, followed by reconstructed disparity and rays if features are wanted."""
        import torch

        posterior = self._vae.encode(video.to(self._vae_dtype)).latent_dist
        scale = self._vae.config.scaling_factor
        picture: Tensor = posterior.mode().float() * scale
        if not self._depth:
            return picture
        given = picture
        if self._paper:
            given = picture + posterior.std.float() * scale * draws("reconstruction", picture.shape[1:])
        return torch.cat([picture, self._geometry(given, draws)[:, picture.shape[1] :]], dim=1)

    def _geometry(self, picture: Tensor, draws: Draws) -> Tensor:
        """Denoise picture, disparity and rays of one clip from pure noise, given the picture's latents."""
        import torch
        from diffusers import CogVideoXDPMScheduler

        scheduler = CogVideoXDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
            clip_sample=False, rescale_betas_zero_snr=True, timestep_spacing="trailing",
            snr_shift_scale=float(self._model.settings["snr_shift"]),
        )  # fmt: skip
        scheduler.set_timesteps(int(self._model.settings["geometry_steps"]))
        steps = scheduler.timesteps.tolist()
        condition = torch.cat([picture, picture.new_zeros(1, RAYS, *picture.shape[2:])], dim=1)
        channels = self._model.architecture["transformer"]["out_channels"]
        sample = draws("geometry", (channels, *picture.shape[2:]))
        # the library draws once in the first and last step, twice in between, and drops the first of two
        last = len(steps) - 1
        noise = draws("geometry steps", (max(1, 2 * last), *sample.shape[1:]))[0]
        before = None
        for index, step in enumerate(steps):
            velocity = self._run(torch.cat([sample, condition], dim=1), step)[0].transpose(1, 2).float()
            back = steps[index - 1] if index else None
            drawn = 0 if index == 0 else 2 * index if index < last else 2 * last - 1
            sample, before = denoised(scheduler, velocity, before, step, back, sample, noise[[drawn]])
        return sample

    def condition(
        self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws
    ) -> Mapping[str, Tensor]:
        """`latents` (B, C, t, y, x): the first frame, zeros after it, and zeros for the rays."""
        import torch

        first = first_frame_latents(self._vae, video, draws, sampled=self._paper)
        later = torch.cat([first, first.new_zeros(*first.shape[:2], latents.shape[2] - 1, *latents.shape[3:])], dim=2)
        return {"latents": torch.cat([later, later.new_zeros(len(later), RAYS, *later.shape[2:])], dim=1)}

    @property
    def text(self) -> Mapping[str, Tensor]:
        """`text` (1, tokens, width), the empty prompt."""
        return {"text": self._text}

    def hidden(
        self, noisy: Tensor, level: NoiseLevel, condition: Mapping[str, Tensor], blocks: Sequence[int]
    ) -> Mapping[int, Tensor]:
        """Run up to the deepest block and take the video half of its two outputs."""
        import torch

        readers = block_readers(self._transformer.transformer_blocks, blocks, lambda output: output[0])
        with reading(readers, max(blocks)) as found:
            self._run(torch.cat([noisy, condition["latents"]], dim=1), int(level.timestep))
        return found

    def _run(self, latents: Tensor, timestep: int) -> Any:
        """One forward of latents (B, C, t, y, x); the output has time before channels."""
        import torch

        stretch = 12 / float(self._model.settings["fps"])
        rotary = rotary_tables(self._transformer.config, latents.shape[2:], latents.device, stretch)
        steps = torch.full((len(latents),), timestep, device=latents.device)
        sequence = latents.transpose(1, 2).to(self._dtype)
        text = self._text.expand(len(latents), -1, -1)
        return self._transformer(sequence, text, steps, image_rotary_emb=rotary, return_dict=False)


def denoised(
    scheduler: Any,
    velocity: Tensor,
    before: Tensor | None,
    step: int,
    back: int | None,
    sample: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return (next sample, estimate of the clean one) of one step: that of the library, with its noise given.

    Args:
        scheduler: `CogVideoXDPMScheduler`, which draws its noise itself.
        velocity: what the network predicts for `sample`.
        before: estimate of the clean sample in the step before; None in the first.
        step, back: timesteps of this and the step before.
        sample: (1, C, t, y, x) float32.
        noise: standard normal, of the same shape.
    """
    previous = step - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha = scheduler.alphas_cumprod[step]
    to = scheduler.alphas_cumprod[previous] if previous >= 0 else scheduler.final_alpha_cumprod
    since = None if back is None else scheduler.alphas_cumprod[back]
    clean = alpha**0.5 * sample - (1 - alpha) ** 0.5 * velocity
    h, r, _, _ = scheduler.get_variables(alpha, to, since)
    factors = scheduler.get_mult(h, r, alpha, to, since)
    scale = (1 - to) ** 0.5 * (1 - (-2 * h).exp()) ** 0.5
    target = clean if before is None or previous < 0 else factors[2] * clean - factors[3] * before
    return factors[0] * sample - factors[1] * target + scale * noise, clean
