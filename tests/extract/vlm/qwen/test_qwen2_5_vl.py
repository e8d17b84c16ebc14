"""Qwen2.5-VL: positions, which the library would silently leave out, and its windowed vision tower."""

from __future__ import annotations

from typing import Any

import torch

NAME = "qwen2.5-vl-7b"


def test_time_is_the_place_of_the_image_not_a_multiple_of_it(kit: Any) -> None:
    """One release of the library multiplied it by `tokens_per_second` for images."""
    adapter = kit.loaded(NAME, *kit.llm(3))
    inputs = kit.inputs(adapter)
    time, row, column = inputs["position_ids"][:, 0, inputs["visual"]].reshape(3, 20, 81)
    assert torch.equal(time, row[:, :1].expand(-1, 81))
    assert torch.equal(time, column[:, :1].expand(-1, 81))


def test_positions_are_not_plain_counting(kit: Any) -> None:
    """Without token kinds this network counts tokens one by one and says nothing."""
    adapter = kit.loaded(NAME, *kit.llm(3))
    right = kit.run(adapter, kit.clip())["llm.b3"]

    def without(_module: object, given: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return given, {**options, "position_ids": None}

    hook = adapter.network.register_forward_pre_hook(without, with_kwargs=True)
    try:
        counted = kit.run(adapter, kit.clip())["llm.b3"]
    finally:
        hook.remove()
    assert (counted - right).norm() > 0.01 * right.norm()


def test_a_grid_that_windows_do_not_divide_keeps_its_order(kit: Any) -> None:
    """9x9 tokens in windows of 2x2: the tower sorts tokens by window and must sort them back."""
    _, entered = kit.library(NAME).hidden_states()
    assert kit.make(NAME, size="tiny").spec.taps["vision"].grid == (9, 9)
    assert torch.equal(kit.features(NAME)["vision"][0], entered[0])
