"""How sources are described from the names and the records of their stores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from probe.report.runs.sources import source_of
from probe.report.runs.stores import StoreFacts, store_facts

WAN = {"hub_id": "Wan-AI/Wan2.1-T2V-14B-Diffusers", "revision": "a" * 40}
QWEN = {"hub_id": "Qwen/Qwen3-VL-8B-Instruct", "revision": "b" * 40}


def facts(name: str, weights: dict[str, Any]) -> StoreFacts:
    return replace(
        store_facts(None, "toy", name, "f" * 64, measure=False), fingerprint={"adapter": {"weights": weights}}
    )


@pytest.mark.parametrize(("name", "weights"), [("wan-t2v-14b", {"main": WAN}), ("qwen3-vl-8b", QWEN)])
def test_hub_weights_of_both_families_are_the_published_ones(name: str, weights: dict[str, Any]) -> None:
    source = source_of(name, facts(name, weights))
    assert source.genuine and "(" not in source.label
    assert "revision" in source.weights


@pytest.mark.parametrize(
    ("name", "weights", "mark"),
    [
        ("wan-t2v-14b", {"main": {**WAN, "content": "c" * 64}}, "local weights"),
        ("wan-t2v-14b", {"main": WAN, "vae": {"content": "c" * 64}}, "local weights"),
        ("wan-t2v-14b", {"main": {**WAN, "hub_id": "someone/else"}}, "weights someone/else"),
        ("qwen3-vl-8b", {**QWEN, "content": "c" * 64}, "local weights"),
    ],
)
def test_other_weights_are_marked_and_never_beside_the_published(name: str, weights: dict[str, Any], mark: str) -> None:
    source = source_of(name, facts(name, weights))
    assert not source.genuine and mark in source.label
