"""What all video generation models share: windows, VAE latents, noise, and rows out of token sequences.

A family supplies a `VideoNetwork`: how to load it, encode pixels, condition and run it. `VideoAdapter` does the rest
the same way for all, so that a difference between families is a difference in their own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extract.adapter import BackboneSpec, Batch, ClipInput, Tap, Variant
from extract.noise import NoiseLevel, gaussian_batch
from extract.video.kept import LatentCache
from extract.video.preprocess import resize_clip, unit_range

if TYPE_CHECKING:
    from torch import Tensor

NOISE_RULE = "sha256(seed/clip/role), float32 normal on the CPU"


@dataclass(frozen=True)
class Draws:
    """All random numbers of one window of one batch; a role names what they are for."""

    noise_seed: int
    clip_ids: Sequence[str]
    window: int
    device: str

    def __call__(self, role: str, shape: Sequence[int]) -> Tensor:
        """Return (B, *shape) float32 standard normal numbers on the device, seeded by clip, window and role."""
        return gaussian_batch(shape, self.noise_seed, self.clip_ids, f"{role}/{self.window}").to(self.device)

    def one(self, index: int) -> Draws:
        """Return the draws of a single clip of the batch."""
        return Draws(self.noise_seed, self.clip_ids[index : index + 1], self.window, self.device)


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
        """What identifies the VAE's weights, whatever model it came with."""

    def encode(self, video: Tensor, draws: Draws) -> Tensor:
        """Encode one clip (1, 3, n, h, w) float32 in [-1, 1] to clean latents (1, C, t, y, x) float32."""

    def condition(self, video: Tensor, latents: Tensor, inputs: Mapping[str, Tensor], draws: Draws) -> Any:
        """Return what the transformer needs beside noisy latents.

        Args:
            video: (B, 3, n, h, w) float32 in [-1, 1].
            latents: (B, C, t, y, x) float32, clean.
            inputs: what `prepare` made, batched.
            draws: random numbers, if any are needed.
        """

    def hidden(self, noisy: Tensor, level: NoiseLevel, condition: Any, blocks: Sequence[int]) -> Mapping[int, Tensor]:
        """Run noisy latents (B, C, t, y, x) float32 up to the deepest block: block -> (B, t * y * x tokens, width)."""


class VideoAdapter:
    """A video generation model behind the adapter contract."""

    def __init__(
        self, spec: BackboneSpec, network: VideoNetwork, identity: Mapping[str, Any], variant: Variant
    ) -> None:
        self.spec = spec
        self._network = network
        self._identity = identity
        self._variant = variant
        self._taps: tuple[Tap, ...] = ()
        self._vae = ""
        self._latents = LatentCache(variant.cache if variant.cache_latents else None)

    def identity(self) -> Mapping[str, Any]:
        """Return everything that changes a value."""
        return {
            "family": self.spec.family,
            "protocol": self._variant.protocol,
            "windows": [list(window) for window in self.spec.frames.windows],
            "short_clips": "last frame repeated",
            "input": {"size": list(self.spec.input_size), "resize": f"PIL {self._network.resample.name.lower()}"},
            "noise": {"seed": self._variant.noise_seed, "rule": NOISE_RULE},
            "compute_dtype": self.spec.compute_dtype,
            "vae": self._network.vae_identity(),
            **self._identity,
        }

    def preprocess(self, clip: ClipInput) -> Mapping[str, Tensor]:
        """Resize the frames: `pixels` (n, h, w, 3) uint8, and whatever the family needs of the first frame."""
        import torch

        pixels = torch.from_numpy(resize_clip(clip.frames, self.spec.input_size, self._network.resample))
        inputs = {"pixels": pixels, **self._network.prepare(clip.frames[0])}
        if self._latents.folder:
            inputs["pixels_digest"] = torch.frombuffer(
                bytearray(sha256(pixels.numpy().tobytes()).digest()), dtype=torch.uint8
            )
        return inputs

    def load(self, taps: Sequence[Tap]) -> None:
        """Load the VAE and as many blocks as the deepest tap needs."""
        for tap in taps:
            self.spec.check(tap)
        self._taps = tuple(taps)
        self._network.load(max((tap.block or 0 for tap in taps), default=0))
        self._vae = self._network.vae_digest() if self._latents.folder else ""

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Encode every window once, then run the transformer once per noise level."""
        import torch

        parts: dict[str, list[Tensor]] = {tap.key: [] for tap in self._taps}
        with torch.inference_mode():
            for window, frames in enumerate(self.spec.frames.gather):
                draws = Draws(self._variant.noise_seed, batch.clip_ids, window, self._variant.device)
                for key, rows in self._window(batch, window, frames, draws).items():
                    parts[key].append(rows)
            return {key: torch.cat(rows, dim=1) for key, rows in parts.items()}

    def _window(self, batch: Batch, window: int, frames: Sequence[int], draws: Draws) -> dict[str, Tensor]:
        _, tokens = self.spec.frames.rows_of_window(window)
        video = unit_range(batch.inputs["pixels"][:, list(frames)])
        latents = self._encode(batch, video, draws)
        found: dict[str, Tensor] = {}
        for tap in self._taps:
            if tap.name == "vae":
                channels = self.spec.taps["vae"].channels
                found[tap.key] = latents[:, :channels, tokens].permute(0, 2, 3, 4, 1)
        levels = {tap.noise.label: tap.noise for tap in self._taps if tap.noise is not None}
        condition = self._network.condition(video, latents, batch.inputs, draws) if levels else None
        for level in levels.values():
            noise = draws("noise", latents.shape[1:])
            noisy = level.signal * latents + level.noise * noise
            wanted = {tap.block: tap for tap in self._taps if tap.noise == level and tap.block is not None}
            for block, states in self._network.hidden(noisy, level, condition, sorted(wanted)).items():
                grid = self.spec.taps[wanted[block].name].grid
                maps = states.view(len(states), self.spec.frames.tokens, *grid, -1)
                found[wanted[block].key] = maps[:, tokens]
        return found

    def _encode(self, batch: Batch, video: Tensor, draws: Draws) -> Tensor:
        import torch

        encoded = []
        for index in range(len(video)):
            one = video[index : index + 1]
            pixels = batch.inputs["pixels_digest"][index] if self._latents.folder else None
            seen = [] if pixels is None else pixels.tolist()
            # the clip too: some latents hold noise of its own, which another clip with the same pixels must not get
            key = [self._vae, self._network.vae_identity(), seen, draws.window, batch.clip_ids[index]]
            encode = partial(self._network.encode, one, draws.one(index))
            encoded.append(self._latents.get(key, encode, one.device))
        return torch.cat(encoded)
