"""How much noise a video generation model's input has, and the seeds from which it is drawn.

The published protocol names noise by an index into the model's own descending schedule of 1000 steps; what matters for
the features are the two coefficients of the noisy sample `signal * x + noise * e` and the timestep given to the
network. They differ between families at the same index, so levels are stored and named by the noise coefficient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 1000
"""Steps of every discrete schedule here, in training and in the published extraction."""
NOISE_RULE = "sha256(seed/clip/role), float32 normal on the CPU"
"""How `SeededNoise` draws, as fingerprints say it."""


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """One noise level of one model.

    Attributes:
        timestep: the number passed to the network.
        noise: coefficient of the noise, in [0, 1].
        signal: coefficient of the clean latent, in [0, 1].
    """

    timestep: float
    noise: float
    signal: float

    @property
    def label(self) -> str:
        """Short name, the noise coefficient in thousandths: `s0502`."""
        return f"s{round(self.noise * 1000):04d}"


class NoiseSchedule(Protocol):
    """Turns what the user writes into a noise level: `index:749`, `t:250` or a noise coefficient such as `0.5`."""

    def level(self, text: str) -> NoiseLevel:
        """Return the level. Raises `ConfigError` if the text names no level of this schedule."""


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow with the sample (1 - s) x + s e and shifted levels s (Wan: UniPC with flow sigmas).

    `index:i` is step i of the shifted descending schedule, `t:` the timestep 1000 s passed to the network, which the
    schedule cuts to a whole number.
    """

    shift: float

    @cached_property
    def sigmas(self) -> NDArray[np.float64]:
        """(1000,) descending shifted levels."""
        even = np.linspace(1, 1 / STEPS, STEPS + 1)[:-1]
        return self.shift * even / (1 + (self.shift - 1) * even)

    def level(self, text: str) -> NoiseLevel:
        """See `NoiseSchedule`."""
        kind, value = _parse(text)
        sigma = float(self.sigmas[_index(value)]) if kind == "index" else value / STEPS if kind == "t" else value
        _check_unit(sigma, text)
        return NoiseLevel(timestep=float(int(sigma * STEPS)), noise=sigma, signal=1 - sigma)


@dataclass(frozen=True)
class CogVideoXSchedule:
    """Variance preserving, sample sqrt(a) x + sqrt(1 - a) e: scaled-linear betas, SNR shift, zero terminal SNR.

    `index:i` is step i of the descending "trailing" schedule, so timestep 999 - i; `t:` a timestep 0 ... 999; a
    coefficient is rounded to the nearest timestep.
    """

    snr_shift: float
    beta_start: float = 0.00085
    beta_end: float = 0.012

    @cached_property
    def alphas(self) -> NDArray[np.float64]:
        """(1000,) cumulative alphas of timesteps 0 ... 999."""
        betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, STEPS) ** 2
        alphas = np.cumprod(1 - betas)
        root = np.sqrt(alphas / (self.snr_shift + (1 - self.snr_shift) * alphas))
        return np.asarray(((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2)

    def level(self, text: str) -> NoiseLevel:
        """See `NoiseSchedule`."""
        kind, value = _parse(text)
        if kind == "coefficient":
            _check_unit(value, text)
            step = int(np.abs(np.sqrt(1 - self.alphas) - value).argmin())
        else:
            step = STEPS - 1 - _index(value) if kind == "index" else _index(value)
        alpha = float(self.alphas[step])
        return NoiseLevel(timestep=float(step), noise=(1 - alpha) ** 0.5, signal=alpha**0.5)


@dataclass(frozen=True)
class OpenSoraSchedule:
    """Rectified flow whose level is shifted by picture size and clip length (Open-Sora 2.0).

    `t:` is the level before the shift, as the paper writes it (0.25); there is no index. The clean latent keeps a
    factor 1 - 1e-5 less than in other flows: noise 1 - (1 - 1e-5)(1 - s).
    """

    latent_size: tuple[int, int]
    latent_frames: int

    @property
    def shift(self) -> float:
        """Shift factor: linear in tokens per frame (1 at 256, 3 at 4096), times the root of the latent frames."""
        tokens = self.latent_size[0] * self.latent_size[1] / 4
        return float((1 + 2 * (tokens - 256) / (4096 - 256)) * self.latent_frames**0.5)

    def level(self, text: str) -> NoiseLevel:
        """See `NoiseSchedule`."""
        kind, value = _parse(text)
        if kind == "index":
            raise ConfigError(
                "Open-Sora has a continuous schedule", expected="t:0.25, or a noise coefficient", found=text
            )
        _check_unit(value, text)
        sigma = self.shift * value / (1 + (self.shift - 1) * value) if kind == "t" else value
        return NoiseLevel(timestep=sigma, noise=1 - (1 - 1e-5) * (1 - sigma), signal=1 - sigma)


def levels(schedule: NoiseSchedule, texts: Sequence[str]) -> list[NoiseLevel]:
    """Return the levels that the texts name.

    Raises:
        ConfigError: two of them would have the same name in the store.
    """
    chosen = [schedule.level(text) for text in texts]
    labels = [level.label for level in chosen]
    if len(set(labels)) < len(labels):
        raise ConfigError(
            "two noise levels are too close to be told apart", expected="a step of 0.001", found=", ".join(texts)
        )
    return chosen


def seed_for(noise_seed: int, clip_id: str, role: str) -> int:
    """Return the seed of one draw: a hash of the run's seed, the clip and what the noise is for.

    The model is left out on purpose: siblings with the same latent shape see the same noise, so that their difference
    is not due to chance.
    """
    text = f"{noise_seed}/{clip_id}/{role}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def gaussian(shape: Sequence[int], noise_seed: int, clip_id: str, role: str) -> Tensor:
    """Draw float32 standard normal noise of `shape` on the CPU, the same on every device, resume and worker count."""
    import torch

    generator = torch.Generator().manual_seed(seed_for(noise_seed, clip_id, role))
    return torch.randn(tuple(shape), generator=generator)


class Noise(Protocol):
    """Where random numbers come from, for features that need them; picklable, since it goes to other processes.

    A draw depends on the clip and on its role, what the numbers are for, and on nothing else: neither on the batch, the
    device nor on earlier draws.
    """

    @property
    def seed(self) -> int:
        """Seed, part of every fingerprint."""

    @property
    def rule(self) -> str:
        """How numbers follow from seed, clip and role: part of the fingerprint, in one line."""

    def tensor(self, clip_id: str, role: str, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers of `shape`, float32 on the CPU."""

    def array(self, clip_id: str, role: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return standard normal numbers of `shape` for controls, which work with NumPy."""


@dataclass(frozen=True)
class SeededNoise:
    """The noise of all features unless a `Variant` says otherwise: a generator per clip and role."""

    seed: int

    @property
    def rule(self) -> str:
        """See `Noise`."""
        return NOISE_RULE

    def tensor(self, clip_id: str, role: str, shape: Sequence[int]) -> Tensor:
        """See `Noise`; from torch's generator."""
        return gaussian(shape, self.seed, clip_id, role)

    def array(self, clip_id: str, role: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """See `Noise`; from NumPy's generator, so other numbers than `tensor`."""
        random = np.random.default_rng(seed_for(self.seed, clip_id, role))
        return random.standard_normal(tuple(shape), dtype=np.float32)


def _parse(text: str) -> tuple[str, float]:
    kind, colon, number = text.partition(":")
    kind, number = (kind, number) if colon else ("coefficient", text)
    try:
        if kind not in ("index", "t", "coefficient"):
            raise ValueError(kind)
        return kind, float(number)
    except ValueError:
        raise ConfigError(
            f"can't read the noise level {text!r}", expected="index:749, t:250 or a noise coefficient in [0, 1]"
        ) from None


def _index(value: float) -> int:
    if not value.is_integer() or not 0 <= value < STEPS:
        raise ConfigError(
            "no such step of the noise schedule", expected=f"a whole number from 0 to {STEPS - 1}", found=value
        )
    return int(value)


def _check_unit(value: float, text: str) -> None:
    if not 0 <= value <= 1:
        raise ConfigError("a noise level lies between 0 and 1", found=text)
