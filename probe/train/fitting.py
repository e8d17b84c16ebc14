"""The Lightning trainer of a pass: device, precision, loggers."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

from configs.errors import ConfigError
from configs.machine import keep_freed_memory
from configs.paths import runs_path

if TYPE_CHECKING:
    from probe.inputs.batches import ProbeData
    from probe.train.loop import ProbePass


def resolve_device(name: str) -> torch.device:
    """Return the device that a name means; `auto` takes a GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}", expected="auto, cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"probes don't train on {name}", expected="auto, cpu, cuda or cuda:<number>", fix="device=cpu"
        )
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"there is no device {name}", found=f"{torch.cuda.device_count()} GPUs", fix="device=cpu")
    return device


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return `bf16-mixed` or `float32`; `auto` takes bfloat16 where the hardware computes in it."""
    if precision != "auto":
        return precision
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "float32"


def fit(training: ProbePass, data: ProbeData, config: Any, rounds: int) -> None:
    """Run some rounds of a pass.

    Raises:
        ConfigError: a logger isn't installed.
        KeyboardInterrupt: the user interrupted; the last whole round is on disk.
    """
    import lightning as L

    device = resolve_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    precision: Any = "bf16-mixed" if config.recipe.precision == "bf16-mixed" else "32-true"
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Workers, logging intervals and checkpoint folders are not Lightning's business here.
        warnings.filterwarnings("ignore", module="lightning.*")
        # A first batch without anything to learn from moves the schedule, not the weights.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        trainer = L.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision=precision,
            max_epochs=rounds,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            logger=_loggers(config) or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(training, datamodule=data)
        except SystemExit:
            if trainer.interrupted:
                advice = "the same command without force=true continues" if config.force else ""
                raise KeyboardInterrupt(advice) from None
            raise


def _loggers(config: Any) -> list[Any]:
    from lightning.pytorch import loggers

    folder = runs_path(config.root)
    made: list[Any] = []
    for name in config.loggers:
        try:
            if name == "tensorboard":
                made.append(loggers.TensorBoardLogger(str(folder), name="tensorboard", version=""))
            else:
                made.append(loggers.WandbLogger(save_dir=str(folder), project="spatialprobe"))
        except ModuleNotFoundError as error:
            raise ConfigError(f"logger {name} isn't installed: {error}", fix=f"pip install {name}") from error
    return made
