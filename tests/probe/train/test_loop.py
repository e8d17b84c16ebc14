"""The training loop's own promises, beside those of whole runs in test_training."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_loggers_get_every_row(artifacts: Path, configure: Callable[..., Any]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (result,) = train(configure(artifacts, "tagging", loggers="tensorboard"))
    events = EventAccumulator(str(artifacts / "runs" / "tensorboard"))
    events.Reload()
    rows = events.Scalars(f"{result['run_id']}/train/loss")
    assert len(rows) == result["rounds"] and rows[-1].step == result["steps"]


def test_interrupt_by_the_user_is_passed_on(
    artifacts: Path, configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.train.loop import Learner

    monkeypatch.setattr(Learner, "step", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as interrupt:
        train(configure(artifacts, "tagging"))
    assert str(interrupt.value) == ""  # the command line then says how to continue
