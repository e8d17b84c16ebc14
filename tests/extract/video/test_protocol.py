"""What protocol, device and dtype choose, and the fingerprints that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from configs.identity import digest
from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.weights.libraries import load_library_model
from tests.extract.pictures import taps
from tests.extract.video.models import Tiny


def test_paper_protocol_is_another_fingerprint() -> None:
    model = load_model("wan-t2v-1.3b")
    for protocol, tokens in (("paper", 226), ("standard", 512)):
        identity = build_adapter(model, Variant(weights="random", protocol=protocol)).identity()
        assert identity["text_tokens"] == tokens
        assert identity["protocol"] == protocol
        assert identity["vae"]["tiled"] == (protocol == "paper")


def test_dtypes_follow_device_and_protocol() -> None:
    model = load_model("cogvideox-t2v-5b")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, "float32", "bfloat16"),
        ({"device": "cuda:0"}, "bfloat16", "bfloat16"),
        ({"device": "cuda:0", "protocol": "paper"}, "float16", "float16"),
        ({"dtype": "bfloat16"}, "bfloat16", "bfloat16"),
    ]
    for choices, compute, stored in cases:
        spec = build_adapter(model, Variant(weights="random", **choices)).spec
        assert (spec.compute_dtype, spec.store_dtype) == (compute, stored)


def test_published_encoders_ran_in_float16(tmp_path: Path) -> None:
    """Wan's image encoder, and CogVideoX's text encoder, whatever the transformer runs in."""
    for name, part, key, dtype in [
        ("wan-i2v-14b", "image_encoder", "image_encoder_dtype", "bfloat16"),
        ("cogvideox-t2v-2b", "text_encoder", "text_dtype", "auto"),
    ]:
        for protocol in ("paper", "standard"):
            variant = Variant(
                weights="random", size="tiny", protocol=protocol, dtype=dtype, cache=str(tmp_path / protocol)
            )
            adapter = build_adapter(load_model(name), variant)
            assert ("float16" in str(adapter.identity().get(key)).split(".")) == (protocol == "paper")
            seen: list[tuple[str, torch.dtype]] = []

            def spy(cls: Any, folder: Path, seen: Any = seen, **options: Any) -> Any:
                seen.append((folder.name, options["dtype"]))
                return load_library_model(cls, folder, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("extract.video.prompt.load_library_model", spy)
                patch.setattr("extract.video.wan.first_frame.load_library_model", spy)
                adapter.load(taps(adapter, (1,)))
            assert ((part, torch.float16) in seen) == (protocol == "paper")


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "aether", "opensora"])
@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_text_encoders_run_in_the_requested_dtype(
    name: str, protocol: str, tiny_cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the fingerprint tells what they ran in, as their numbers differ."""
    model, identities, ran = load_model(name), [], []
    for dtype in ("auto", "float32", "bfloat16"):
        seen: dict[str, Any] = {}

        def spy(cls: Any, folder: Path, seen: Any = seen, **options: Any) -> Any:
            seen[folder.name] = options.get("dtype")
            return load_library_model(cls, folder, **options)

        monkeypatch.setattr("extract.video.prompt.load_library_model", spy)
        monkeypatch.setattr("extract.video.prompt.kept", lambda folder, key, compute: compute())
        variant = Variant(weights="random", size="tiny", protocol=protocol, dtype=dtype, cache=tiny_cache)
        adapter = build_adapter(model, variant)
        adapter.load(taps(adapter, (1,)))
        assert seen
        if dtype != "auto":
            assert set(seen.values()) == {getattr(torch, dtype)}
        identities.append(digest(adapter.identity()))
        ran.append((adapter.spec.compute_dtype, str(seen)))
    assert len(set(identities)) == len(set(ran)) >= 2


def test_full_size_weights_of_another_generator_are_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    identities = [
        build_adapter(load_model("wan-t2v-1.3b"), Variant(weights="random", device=device, dtype="float32")).identity()
        for device in ("cpu", "cuda:0", "cuda:1")
    ]
    assert identities[0] != identities[1] == identities[2]


def test_cached_prompt_needs_no_text_encoder(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = tiny("cogvideox-t2v-2b")
    adapter.load(taps(adapter, (1,)))
    monkeypatch.setattr("extract.video.prompt.load_library_model", lambda *args, **kwargs: pytest.fail("loaded again"))
    adapter.load(taps(adapter, (1,)))
