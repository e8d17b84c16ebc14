"""The contract between the job runner and a source of features: what it is, what it takes, what it returns.

The module of a family has `build(model, variant) -> Adapter`, see `extract.families`. The runner calls
`preprocess` in CPU threads, stacks and moves its result, and calls `forward` on the device in one thread; pooling to
the requested grid, finite checks, dtype of the store and writing are up to the runner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from extract.frames import FramePlan
from extract.model import ModelConfig
from extract.noise import Noise, NoiseLevel, NoiseSchedule, SeededNoise

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One place where features are read.

    Attributes:
        name: "dit", "llm", "vae", "vision", or the name of a source that is not a model.
        block: how many transformer blocks have run, counted from 1; None where there are none.
        noise: noise level of the input; None where none is added.
    """

    name: str
    block: int | None = None
    noise: NoiseLevel | None = None

    @cached_property
    def key(self) -> str:
        """Name without the grid, for example `dit.b21.s0502`, `llm.b22` or `vae`."""
        parts = [self.name]
        if self.block is not None:
            parts.append(f"b{self.block}")
        if self.noise is not None:
            parts.append(self.noise.label)
        return ".".join(parts)


@dataclass(frozen=True, kw_only=True)
class TapSpec:
    """What can be read at one tap of a backbone.

    Attributes:
        blocks: transformer blocks of the whole network, any of which can be requested; 0 where there are none.
        grid: native (rows, columns) of a map.
        channels: width of a token.
        noisy: whether a noise level belongs to it.
    """

    blocks: int
    grid: tuple[int, int]
    channels: int
    noisy: bool = False


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Facts about one model in one variant, known without its weights.

    Attributes:
        name: name of the model, as in `configs/model/`.
        family: name of the family that runs it.
        frames: windows it is fed and rows it keeps.
        input_size: (height, width) in pixels that a frame is resized to; (0, 0) where frames are taken as they come.
        taps: tap name -> what it offers; the first one is the default.
        compute_dtype: "float32", "bfloat16" or "float16": the dtype of the network's arithmetic on the chosen device.
        store_dtype: dtype that loses nothing worth keeping, the store's default.
        ground_truth: names of the ground-truth arrays that `preprocess` reads; empty for every real backbone.
        whole_network: whether all blocks are loaded and run whatever the tap (Aether generates before it is read).
        schedule: turns what the user writes into noise levels; None where no noise is added.
    """

    name: str
    family: str
    frames: FramePlan
    input_size: tuple[int, int]
    taps: Mapping[str, TapSpec]
    compute_dtype: str
    store_dtype: str
    ground_truth: tuple[str, ...] = ()
    schedule: NoiseSchedule | None = None
    whole_network: bool = False

    @property
    def rows(self) -> int:
        """Number of stored temporal maps per clip."""
        return len(self.frames.rows)

    def check(self, tap: Tap) -> TapSpec:
        """Return what a tap offers.

        Raises:
            ConfigError: the model has no such tap or block, or a noise level is missing or superfluous.
        """
        if tap.name not in self.taps:
            raise ConfigError(f"{self.name} has no tap {tap.name!r}", expected=", ".join(self.taps))
        offer = self.taps[tap.name]
        if (offer.blocks > 0) != (tap.block is not None) or (
            tap.block is not None and not 1 <= tap.block <= offer.blocks
        ):
            raise ConfigError(
                f"{self.name} has no such block at tap {tap.name!r}",
                expected=f"1 to {offer.blocks}" if offer.blocks else "no block",
                found=tap.block,
            )
        if offer.noisy != (tap.noise is not None):
            raise ConfigError(
                f"tap {tap.name!r} of {self.name} " + ("needs" if offer.noisy else "takes no") + " a noise level"
            )
        return offer


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a model is run: the choices that are the user's, not the model's.

    Attributes:
        weights: "hub" (the model's own id and revision), "random", a local folder, or another hub id.
        size: "full", or "tiny" for the small twin with the same classes (random weights only).
        protocol: "standard" (defects of the published code corrected) or "paper" (the published inputs as they were).
        temporal: "paper" or "aligned", see `extract.frames`; only families with interleaved windows look at it.
        init_seed: seed of random weights.
        noise_seed: seed from which, with the clip's id, all noise is drawn.
        noise: where noise comes from instead; its `seed` and `rule` go into fingerprints.
        device: torch device, for example "cpu" or "cuda:0".
        dtype: "auto" (the model's own on a GPU, float32 on CPU) or the name of a dtype; text encoders follow it too.
        prompt: what text encoders read; for vision-language models a line before the first image. "" for the model's
            own: the empty prompt, no line.
        preface: vision-language models only: the line before the first image, "none" for none, "" for the model's own.
        cache: folder for things computed once: prompt embeddings, tiny twins, latents; None keeps nothing.
        cache_latents: keep VAE latents in `cache`, shared by models with the same VAE and input.
        extra: family-specific choices, for example the groups of the oracle.
        twin: command that runs the untrained twin instead, for the message that weights are missing.
    """

    weights: str = "hub"
    size: str = "full"
    protocol: str = "standard"
    temporal: str = "paper"
    init_seed: int = 0
    noise_seed: int = 0
    noise: Noise | None = None
    device: str = "cpu"
    dtype: str = "auto"
    prompt: str = ""
    preface: str = ""
    cache: str | None = None
    cache_latents: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    twin: str = ""

    @property
    def random(self) -> bool:
        """Whether the weights are untrained."""
        return self.weights == "random" or self.size == "tiny"

    @property
    def noise_source(self) -> Noise:
        """Where all noise comes from."""
        return self.noise or SeededNoise(self.noise_seed)


@dataclass(frozen=True, kw_only=True)
class ClipInput:
    """What the reader hands to `preprocess`.

    Attributes:
        clip_id: name of the clip.
        frames: (n, H, W, 3) uint8 RGB, the frames of `FramePlan.positions`, in that order (repeated at the end of a
            clip that is too short).
        length: number of frames that the clip really has.
        ground_truth: the arrays named by `BackboneSpec.ground_truth`, indexed like `frames`; empty otherwise.
    """

    clip_id: str
    frames: NDArray[np.uint8]
    length: int
    ground_truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Several clips on the device.

    Attributes:
        clip_ids: their names, in order; the source of all seeds.
        inputs: what `preprocess` returned, stacked on a new first axis and moved to the device.
    """

    clip_ids: Sequence[str]
    inputs: Mapping[str, Tensor]


class Adapter(Protocol):
    """One model in one variant; base class of the families' adapters."""

    spec: BackboneSpec
    """Facts about it, known without weights."""

    def identity(self) -> Mapping[str, Any]:
        """Everything that changes a value, as JSON types: weights, input, frames, noise rule, prompt, dtype, version.

        Taps, blocks, noise levels and grids name arrays and are not included.
        """

    def preprocess(self, clip: ClipInput) -> Mapping[str, Tensor]:
        """Turn frames into CPU tensors of one clip (no batch axis). Called from several threads concurrently."""

    def load(self, taps: Sequence[Tap]) -> None:
        """Load the weights that these taps need, and no others, onto the variant's device.

        Raises:
            ModelError: weights are missing, incomplete or of another architecture; the message says how to get them.
        """

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Run to the deepest tap loaded: `Tap.key` -> (B, rows, y, x, C), native grid, compute dtype."""

    def network_inputs(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what the library's network is given for a batch, once loaded: the very tensors that `forward` uses.

        For looking inside from Python; the names are the family's, see its documentation. Empty where there is no
        network.
        """
        return {}

    def modules(self) -> Sequence[nn.Module]:
        """Return the networks that are loaded, each once: without blocks that no tap needs; none for controls."""
        return ()

    def flops(self) -> int | None:
        """Count the floating-point operations of one clip's forward; a multiplication and an addition are two.

        Called on an adapter that was built on the device "meta" with random weights at full size, and loaded: what is
        counted is what its taps make it run.

        Returns:
            Matrix products, convolutions and attention; None where they are not counted.
        """
        return None


class Build(Protocol):
    """The function `build` of every family and control."""

    def __call__(self, model: ModelConfig, variant: Variant) -> Adapter:
        """Make the adapter of one model. Loads nothing yet."""
