"""The training loop's own promises, beside those of whole runs in test_training."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.nn import functional as F

from probe.train.loop import training
from probe.train.train import train


def test_gradients_of_a_weight_used_twice_add_up_in_float32(configure: Callable[..., Any], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(64, 32, generator=generator) for _ in range(2))
    start = torch.randn(16, 32, generator=generator)
    config = configure(tmp_path, "tagging", recipe__precision="bf16-mixed")

    def gradient(*inputs: torch.Tensor) -> torch.Tensor:
        weight = start.clone().requires_grad_()
        with training(config, torch.device("cpu")) as fabric, fabric.autocast():
            loss = sum((F.linear(item, weight).float().square().sum() for item in inputs), torch.zeros(()))
            fabric.backward(loss)
        assert weight.grad is not None
        return weight.grad

    assert torch.equal(gradient(first, second), gradient(first) + gradient(second))


class RecordingLogger:
    """Stands in for the library's TensorBoard logger, whose package the project doesn't depend on."""

    made: ClassVar[list[RecordingLogger]] = []

    def __init__(self, folder: str, name: str, version: str) -> None:
        self.folder, self.name, self.version = Path(folder), name, version
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.status = ""
        self.made.append(self)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def finalize(self, status: str) -> None:
        self.status = status


def test_loggers_get_every_row(artifacts: Path, configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger", RecordingLogger)
    monkeypatch.setattr(RecordingLogger, "made", [])
    (result,) = train(configure(artifacts, "tagging", loggers="tensorboard"))
    (logger,) = RecordingLogger.made
    assert logger.folder / logger.name == artifacts / "runs" / "tensorboard" and logger.status == "success"
    rows = [(step, row) for step, row in logger.rows if f"{result['run_id']}/train/loss" in row]
    assert len(rows) == result["rounds"] and rows[-1][0] == result["steps"]


def test_interrupt_by_the_user_is_passed_on(
    artifacts: Path, configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.train.loop import Learner

    monkeypatch.setattr(Learner, "step", lambda *_: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start tests with it ignored
    try:
        with pytest.raises(KeyboardInterrupt) as interrupt:
            train(configure(artifacts, "tagging"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert str(interrupt.value) == ""  # the command line then says how to continue
