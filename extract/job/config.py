"""What a user can choose about an extraction, and the command that repeats it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from configs import commands
from configs.cli import RootConfig
from configs.errors import ConfigError
from configs.names import SourceName, read_source
from configs.options import option

AUTO_BATCH = 8
"""Clips that `batch=auto` begins with."""


@dataclass(kw_only=True, frozen=True)
class RunConfig(RootConfig):
    """Options of `run` and `plan`."""

    model: str = option(
        help="one or several: models, family aliases and controls, as `extract models` lists them, or sources as "
        "stores call them: oracle-depth-rays, qwen3-vl-2b-random"
    )
    dataset: str = option("rooms", "name of the prepared dataset")
    layers: list[str] = option(
        help="transformer blocks counted from 1, or: paper (those of the paper), all, even4 (4 evenly spaced)",
        factory=lambda: ["paper"],
    )
    noise: list[str] = option(help="noise levels: index:749, t:250 or a coefficient; default the model's", factory=list)
    tap: list[str] = option(help="where to read: dit, vae, llm, vision; default the model's first", factory=list)
    grid: list[str] = option(
        help="grids to store: paper (the paper's for this model), native, or rows x columns such as 15x26",
        factory=lambda: ["paper"],
    )
    weights: str = option("hub", "hub (the model's own), random, a local folder, or another hub id")
    size: str = option("full", "full, or tiny: the small untrained twin", choices=["full", "tiny"])
    protocol: str = option(
        "standard", "standard, or paper: the published inputs as they were", choices=["standard", "paper"]
    )
    temporal: str = option(
        "paper", "windows of CogVideoX and Aether, see docs/extraction.md", choices=["paper", "aligned"]
    )
    groups: list[str] = option(
        help="oracle only: colour, normal, depth, rays, code, classes; default all", factory=list
    )
    oracle_noise: float = option(0.0, "oracle only: standard deviation of noise added to the features", minimum=0)
    dtype: str = option(
        "auto", "arithmetic: auto (the model's own on a GPU, float32 on CPU) or a dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
    )  # fmt: skip
    prompt: str = option(
        "", "text that the model reads beside the frames, the same for all clips; {classes} stands for the dataset's "
        "classes; default the model's own, no text"
    )  # fmt: skip
    preface: str = option(
        "", "vision-language models: the line before the first image, or none; default the model's own"
    )
    store_dtype: str = option(
        "auto", "what is stored: auto (the model's own) or a dtype", choices=["auto", "float32", "bfloat16", "float16"]
    )
    clips: list[str] = option(help="clip ids; default all clips of the dataset", factory=list)
    limit: int = option(0, "only the first so many clips; 0 = all", minimum=0)
    part: str = option(
        "0/1", "which share of the work this job does, for example 3/16; jobs of all parts share one store"
    )
    workers: int = option(0, "processes; 0 = one per visible GPU, or one on a machine without", minimum=0)
    device: str = option("auto", "auto (a GPU if there is one), cpu, cuda, cuda:1, ...")
    threads: int = option(
        1, "CPU threads of one process's arithmetic; fixed, so that results don't depend on it", minimum=1
    )
    batch: str = option("1", "clips per forward, or auto: 8, halved until they fit into memory; recorded")
    readers: int = option(0, "threads that decode and resize frames; 0 = one per core, at most 8", minimum=0)
    noise_seed: int = option(0, "seed of all noise, together with the clip's id")
    init_seed: int = option(0, "seed of random weights")
    cache_latents: bool = option(False, "keep VAE latents, shared by models with the same VAE and input")
    wait: bool = option(
        True, "wait for clips that other processes hold and take over those of dead ones; false: exit with code 3"
    )
    verify_writes: bool = option(False, "read every shard back and compare it before its clip counts")

    def check(self) -> None:
        """Refuse values that can't be read.

        Raises:
            ConfigError: `part` or `batch`, or weights for the tiny twin, which is always untrained.
        """
        self.mine(0)
        if self.size == "tiny" and self.weights not in ("hub", "random"):
            raise ConfigError(
                "the tiny twin is untrained and takes no weights",
                found=f"weights={self.weights} size=tiny",
                fix="leave size= out for these weights, or weights= for the twin",
            )

    def mine(self, index: int) -> bool:
        """Return whether the clip with this index in the store belongs to this job's part; errors as `check`."""
        part, parts = self.share()
        return index // (self.batch_size() or AUTO_BATCH) % parts == part

    def share(self) -> tuple[int, int]:
        """Return (index, count) of `part`.

        Raises:
            ConfigError: not i/N with 0 <= i < N.
        """
        index, slash, count = self.part.partition("/")
        if not slash or not index.isdigit() or not count.isdigit() or not int(index) < int(count):
            raise ConfigError(f"can't read part={self.part}", expected="i/N with i from 0 to N-1, for example part=0/4")
        return int(index), int(count)

    def batch_size(self) -> int:
        """Return the clips per forward, 0 for `auto`.

        Raises:
            ConfigError: neither a positive number nor auto.
        """
        if self.batch == "auto":
            return 0
        if not str(self.batch).isdigit() or int(self.batch) < 1:
            raise ConfigError(f"can't read batch={self.batch}", expected="a number of clips, or auto")
        return int(self.batch)


def each_model(config: RunConfig) -> list[RunConfig]:
    """Return one configuration per named model; the parts of a source's name become options.

    Raises:
        ConfigError: no name, or a name that contradicts an option.
    """
    return [_named(config, read_source(name)) for name in model_names(config.model)]


def model_names(text: str) -> list[str]:
    """Split the value of `model=` at spaces and commas.

    Raises:
        ConfigError: no name.
    """
    names = text.replace(",", " ").split()
    if not names:
        raise ConfigError("no model is named", fix=f"{commands.extract('models')} lists them")
    return names


def _named(config: RunConfig, name: SourceName) -> RunConfig:
    said = {"weights": ("random", name.untrained, "hub"), "size": ("tiny", name.tiny, "full")}
    changes: dict[str, Any] = {"model": name.model}
    for key, (value, applies, default) in said.items():
        if applies and getattr(config, key) not in (value, default):
            raise ConfigError(f"{name} already means {key}={value}", found=f"{key}={getattr(config, key)}")
        changes |= {key: value} if applies else {}
    if name.groups:
        if config.groups and set(config.groups) != set(name.groups):
            raise ConfigError(f"{name} already means other groups", found=f"groups={','.join(config.groups)}")
        changes["groups"] = list(name.groups)
    return replace(config, **changes)


def run_command(config: RunConfig) -> str:
    """Return the command line that repeats a configuration, for messages."""
    default = RunConfig(model="")
    changed = {field.name: getattr(config, field.name) for field in fields(config)}
    kept = {"model", "dataset"} | {key for key, value in changed.items() if value != getattr(default, key)}
    return commands.extract("run", **{key: value for key, value in changed.items() if key in kept})


def untrained(config: RunConfig) -> RunConfig:
    """Return the configuration of the small untrained twin; blocks and grids that it doesn't have are left to it."""
    layers = [word for word in config.layers if not word.isdigit()]
    grid = [word for word in config.grid if word in ("paper", "native")]
    return replace(config, weights="random", size="tiny", layers=layers or ["paper"], grid=grid or ["paper"])
