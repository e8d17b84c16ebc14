"""What all video generation models share: windows, VAE latents, noise, and rows out of token sequences.

A family supplies a `VideoNetwork`: how to load it, encode pixels, condition and run it. `VideoAdapter` does the rest
the same way for all, so that a difference between families is a difference in their own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extract.adapter import Adapter, BackboneSpec, Batch, ClipInput, Tap, TapSpec, Variant
from extract.frames import FramePlan
from extract.model import ModelConfig
from extract.noise import Noise, NoiseLevel, NoiseSchedule
from extract.video.kept import kept
from extract.weights.libraries import compute_dtype, model_dtype
from extract.weights.parts import WeightSource

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Draws:
    """All random numbers of one window of one batch; a role names what they are for."""

    noise: Noise
    clip_ids: Sequence[str]
    window: int
    device: str

    def __call__(self, role: str, shape: Sequence[int]) -> Tensor:
        """Return (B, *shape) float32 standard normal numbers on the device, seeded by clip, window and role."""
        import torch

        drawn = [self.noise.tensor(clip_id, f"{role}/{self.window}", shape) for clip_id in self.clip_ids]
        return torch.stack(drawn).to(self.device)

    def one(self, index: int) -> Draws:
        """Return the draws of a single clip of the batch."""
        return Draws(self.noise, self.clip_ids[index : index + 1], self.window, self.device)


class VideoNetwork(Protocol):
    """One family of video generation models."""

    resample: Image.Resampling
    """How frames are resized."""

    def prepare(self, first_frame: NDArray[np.uint8]) -> Mapping[str, Tensor]:
        """Make further CPU inputs from the first frame (H, W, 3) of a clip; empty for text-to-video models."""

    def load(self, depth: int) -> None:
        """Load the VAE and, if `depth` > 0, the first `depth` transformer blocks."""

    def vae_identity(self) -> Mapping[str, Any]:
        """How pixels become latents: dtype, tiling, posterior."""

    def vae_digest(self) -> str:
        """What identifies the VAE's weights, whatever model it came with, and the rule of noise in its latents."""

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Encode one clip (1, 3, n, h, w) float32 in [-1, 1] to clean latents (1, C, t, y, x) float32."""

    def condition(
        self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws
    ) -> Mapping[str, Tensor]:
        """Return what the transformer is given beside noisy latents and text: name -> tensor, empty for none.

        Args:
            video: (B, 3, n, h, w) float32 in [-1, 1].
            latents: (B, C, t, y, x) float32, clean.
            inputs: what `prepare` made, batched.
            draws: random numbers, if any are needed.
        """

    @property
    def text(self) -> Mapping[str, Tensor]:
        """Embeddings of the empty prompt that the transformer is given, once loaded."""

    def hidden(
        self, noisy: Tensor, level: NoiseLevel, condition: Mapping[str, Tensor], blocks: Sequence[int]
    ) -> Mapping[int, Tensor]:
        """Run noisy latents (B, C, t, y, x) float32 up to the deepest block: block -> (B, t * y * x tokens, width)."""


class VideoAdapter(Adapter):
    """A video generation model as an adapter.

    Attributes:
        network: the networks of its family.
        source: where their weights are.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        network: VideoNetwork,
        source: WeightSource,
        identity: Mapping[str, Any],
        variant: Variant,
    ) -> None:
        self.spec = spec
        self.network = network
        self.source = source
        self._identity = identity
        self._variant = variant
        self._noise = variant.noise_source
        self._taps: tuple[Tap, ...] = ()
        self._vae = ""
        self._kept = Path(variant.cache) / "latents" if variant.cache and variant.cache_latents else None

    def identity(self) -> Mapping[str, Any]:
        """Return everything that changes a value."""
        return {
            "family": self.spec.family,
            "protocol": self._variant.protocol,
            "windows": [list(window) for window in self.spec.frames.windows],
            "short_clips": "last frame repeated",
            "input": {"size": list(self.spec.input_size), "resize": f"PIL {self.network.resample.name.lower()}"},
            "noise": {"seed": self._noise.seed, "rule": self._noise.rule},
            "compute_dtype": self.spec.compute_dtype,
            "vae": self.network.vae_identity(),
            "weights": self.source.identity,
            **self._identity,
        }

    def preprocess(self, clip: ClipInput) -> Mapping[str, Tensor]:
        """Resize the frames: `pixels` (n, h, w, 3) uint8, and whatever the family needs of the first frame."""
        import torch

        pixels = torch.from_numpy(resize_clip(clip.frames, self.spec.input_size, self.network.resample))
        inputs = {"pixels": pixels, **self.network.prepare(clip.frames[0])}
        if self._kept:
            inputs["pixels_digest"] = torch.frombuffer(
                bytearray(sha256(pixels.numpy().tobytes()).digest()), dtype=torch.uint8
            )
        return inputs

    def load(self, taps: Sequence[Tap]) -> None:
        """Load the VAE and as many blocks as the deepest tap needs."""
        for tap in taps:
            self.spec.check(tap)
        self._taps = tuple(taps)
        self._noisy = list({tap.noise.label: tap.noise for tap in taps if tap.noise is not None}.values())
        self.network.load(max((tap.block or 0 for tap in taps), default=0))
        self._vae = self.network.vae_digest() if self._kept else ""
        frames = self.spec.frames
        self._windows = [
            (window, list(chosen), frames.rows_of_window(window)[1]) for window, chosen in enumerate(frames.gather)
        ]

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Encode every window once, then run the transformer once per noise level."""
        import torch

        parts: dict[str, list[Tensor]] = {tap.key: [] for tap in self._taps}
        with torch.inference_mode():
            for window, frames, tokens in self._windows:
                draws = self._draws(batch, window)
                latents, condition = self._given(batch, frames, draws)
                for key, rows in self._read(tokens, latents, condition, draws).items():
                    parts[key].append(rows)
            return {key: torch.cat(rows, dim=1) for key, rows in parts.items()}

    def network_inputs(self, batch: Batch) -> Mapping[str, Tensor]:
        """See `Adapter.network_inputs`; per window and, for the text, once.

        `window0.latents` (B, C, t, y, x) clean and `window0.noise`, of the same shape and the same for all levels;
        `window0.condition.<name>` and `text.<name>`, see `VideoNetwork`. The noisy sample of a level is
        `level.signal * latents + level.noise * noise`.
        """
        import torch

        found: dict[str, Tensor] = {}
        with torch.inference_mode():
            for window, frames, _ in self._windows:
                draws = self._draws(batch, window)
                latents, condition = self._given(batch, frames, draws)
                found[f"window{window}.latents"] = latents
                if self._noisy:
                    found[f"window{window}.noise"] = draws("noise", latents.shape[1:])
                found |= {f"window{window}.condition.{name}": value for name, value in condition.items()}
        return found | ({f"text.{name}": value for name, value in self.network.text.items()} if self._noisy else {})

    def _draws(self, batch: Batch, window: int) -> Draws:
        return Draws(self._noise, batch.clip_ids, window, self._variant.device)

    def _given(self, batch: Batch, frames: list[int], draws: Draws) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return clean latents of one window and the condition of the transformer."""
        video = unit_range(batch.inputs["pixels"][:, frames])
        latents = self._encode(batch, video, draws)
        return latents, self.network.condition(video, latents, batch.inputs, draws) if self._noisy else {}

    def _read(
        self, tokens: list[int], latents: Tensor, condition: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Tensor]:
        """Return the rows of one window for every tap."""
        found: dict[str, Tensor] = {}
        for tap in self._taps:
            if tap.name == "vae":
                channels = self.spec.taps["vae"].channels
                found[tap.key] = latents[:, :channels, tokens].permute(0, 2, 3, 4, 1)
        for level in self._noisy:
            noisy = level.signal * latents + level.noise * draws("noise", latents.shape[1:])
            wanted = {tap.block: tap for tap in self._taps if tap.noise == level and tap.block is not None}
            for block, states in self.network.hidden(noisy, level, condition, sorted(wanted)).items():
                grid = self.spec.taps[wanted[block].name].grid
                maps = states.view(len(states), self.spec.frames.tokens, *grid, -1)
                found[wanted[block].key] = maps[:, tokens]
        return found

    def _encode(self, batch: Batch, video: Tensor, draws: Draws) -> Tensor:
        import torch

        encoded = []
        for index in range(len(video)):
            one = video[index : index + 1]
            encode = partial(self.network.encode, one, draws.one(index))
            if self._kept is None:
                encoded.append(encode())
                continue
            seen = batch.inputs["pixels_digest"][index].tolist()
            # the clip too: some latents hold noise of its own, which another clip with the same pixels must not get
            key = [self._vae, self.network.vae_identity(), seen, draws.window, batch.clip_ids[index]]
            encoded.append(kept(self._kept, key, encode, one.device, spread=True))
        return torch.cat(encoded)

    def modules(self) -> Sequence[nn.Module]:
        """See `Adapter.modules`."""
        from torch import nn

        return [value for value in vars(self.network).values() if isinstance(value, nn.Module)]

    def flops(self) -> int:
        """See `Adapter.flops`; the VAE is included."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        height, width = self.spec.input_size
        frames = len(self.spec.frames.positions)
        pixels = torch.empty(1, frames, height, width, 3, dtype=torch.uint8, device="meta")
        inputs = {"pixels": pixels, "condition": pixels[:, 0], "clip": torch.empty(1, 3, 224, 224, device="meta")}
        with FlopCounterMode(display=False) as counter:
            self.forward(Batch(clip_ids=["clip"], inputs=inputs))
        return int(counter.get_total_flops())


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


def resize(frame: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    """Resize one (H, W, 3) uint8 frame to `size` = (height, width); its aspect is not kept (published protocol)."""
    if frame.shape[:2] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), method))


def resize_clip(frames: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    """Resize (n, H, W, 3) uint8 frames to (n, *size, 3)."""
    out = np.empty((len(frames), *size, 3), np.uint8)
    for index, frame in enumerate(frames):
        out[index] = resize(frame, size, method)
    return out


def unit_range(pixels: Tensor) -> Tensor:
    """Turn (..., n, h, w, 3) uint8 pixels into (..., 3, n, h, w) float32 in [-1, 1]."""
    return pixels.movedim(-1, -4).float().div(255.0).mul(2.0).sub(1.0)
