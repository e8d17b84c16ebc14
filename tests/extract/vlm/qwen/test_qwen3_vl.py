"""Qwen3-VL: DeepStack, position ids, a grid that is not square, published layouts, loading only what is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import ModelError
from extract.model import load_model

NAME = "qwen3-vl-8b"


def test_deepstack_is_added_after_the_map_is_read(kit: Any) -> None:
    """Maps of blocks 1 to 3 are the layers' outputs; what enters the next layer is more; from block 4 on they agree."""
    _, entered = kit.library(NAME).hidden_states()
    maps = {block: kit.features(NAME)[f"llm.b{block}"][0] for block in range(1, 6)}
    for block in (1, 2, 3):
        added = (entered[block] - maps[block]).norm() / maps[block].norm()
        assert added > 0.01, block
    for block in (4, 5):
        assert torch.equal(entered[block], maps[block]), block


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_truncation_keeps_the_bits_around_deepstack(kit: Any, depth: int) -> None:
    """Even where the network is cut so short that additions of deeper blocks have no block to follow."""
    assert torch.equal(
        kit.run(kit.loaded(NAME, *kit.llm(depth)), kit.clip())[f"llm.b{depth}"], kit.features(NAME)[f"llm.b{depth}"]
    )


def test_positions_are_those_of_three_axes(kit: Any) -> None:
    """Time stands still inside an image; rows and columns count from the image's start."""
    adapter = kit.loaded(NAME, *kit.llm(3))
    rows, columns = adapter.spec.taps["llm"].grid
    inputs = kit.inputs(adapter)
    cells = inputs["position_ids"][:, 0, inputs["visual"]].reshape(3, 20, rows, columns)
    start = cells[0, :, 0, 0]
    assert torch.equal(cells[0], start[:, None, None].expand(-1, rows, columns))
    assert torch.equal(cells[1] - start[:, None, None], torch.arange(rows)[None, :, None].expand(20, -1, columns))
    assert torch.equal(cells[2] - start[:, None, None], torch.arange(columns)[None, None].expand(20, rows, -1))
    assert (start.diff() > max(rows, columns)).all()


def test_a_grid_that_is_not_square_keeps_rows_and_columns_apart(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extract.vlm.qwen.adapter.TARGET", (64, 128))
    adapter = kit.make(NAME, size="tiny", cache=str(kit.root))
    assert adapter.spec.taps["llm"].grid == (2, 4)
    adapter.load(kit.llm(1))
    clip = kit.clip(size=(64, 128))
    frames = clip.frames.copy()
    frames[5, 32:64, 96:128] //= 2
    maps = kit.run(adapter, clip, type(clip)(clip_id="c", frames=frames, length=81))["llm.b1"]
    change = (maps[1] - maps[0]).norm(dim=-1)
    assert divmod(int(change[5].argmax()), 4) == (1, 3)


def older_layout(tensors: dict[str, Any]) -> dict[str, Any]:
    names = {key: key.replace("model.language_model.", "model.").replace("model.visual.", "visual.") for key in tensors}
    return {names[key]: value for key, value in tensors.items()}


def newer_layout(tensors: dict[str, Any]) -> dict[str, Any]:
    new = {}
    for key, value in tensors.items():
        if key.startswith("visual."):
            key = "model." + key
        elif key.startswith("model.") and not key.startswith(("model.visual.", "model.language_model.")):
            key = key.replace("model.", "model.language_model.", 1)
        new[key] = value
    return new


@pytest.mark.parametrize("name", [NAME, "qwen2.5-vl-7b"])
@pytest.mark.parametrize("layout", [older_layout, newer_layout])
def test_both_published_layouts_load(kit: Any, tmp_path: Path, name: str, layout: Any) -> None:
    folder = kit.copy(name, tmp_path / "copy", layout)
    names = set(load_file(folder / "model.safetensors"))
    assert ("visual.patch_embed.proj.weight" in names) == (layout is older_layout)
    adapter = kit.make(name, size="tiny", weights=str(folder))
    adapter.load(kit.llm(3))
    mine = dict(adapter.network.named_parameters())
    for key, value in kit.loaded(name, *kit.llm(3)).network.named_parameters():
        assert torch.equal(mine[key], value), key


def without(fragment: str) -> Any:
    return lambda tensors: {key: value for key, value in tensors.items() if fragment not in key}


def test_a_missing_tensor_is_refused(kit: Any, tmp_path: Path) -> None:
    """The library would start it at random and go on."""
    folder = kit.copy(NAME, tmp_path / "copy", without("visual.merger.norm.weight"))
    with pytest.raises(ModelError, match=r"visual\.merger\.norm\.weight"):
        kit.make(NAME, size="tiny", weights=str(folder)).load(kit.llm(1))


def test_an_unexpected_tensor_is_refused(kit: Any, tmp_path: Path) -> None:
    folder = kit.copy(NAME, tmp_path / "copy", lambda t: {**t, "model.visual.blocks.9.norm1.weight": torch.ones(32)})
    with pytest.raises(ModelError, match=r"blocks\.9"):
        kit.make(NAME, size="tiny", weights=str(folder)).load(kit.llm(1))


def test_a_snapshot_of_another_size_is_refused(kit: Any) -> None:
    with pytest.raises(ModelError, match="another model"):
        kit.make(NAME, weights=str(kit.snapshot(NAME))).load(kit.llm(22))


@pytest.mark.parametrize("other", ["qwen2.5-vl-7b", "internvl3-8b"])
def test_a_snapshot_of_another_family_is_refused(kit: Any, other: str) -> None:
    with pytest.raises(ModelError, match="another family"):
        kit.make(NAME, size="tiny", weights=str(kit.snapshot(other))).load(kit.llm(1))


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_folder_without_a_configuration_is_refused(kit: Any, tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        kit.make(NAME, weights=str(tmp_path)).load(kit.llm(22))


def test_other_pixel_statistics_are_refused(kit: Any, tmp_path: Path) -> None:
    folder = kit.copy(NAME, tmp_path / "copy", dict)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}))
    with pytest.raises(ModelError, match="image_mean"):
        kit.make(NAME, size="tiny", weights=str(folder)).load(kit.llm(1))


def test_absent_weights_say_what_to_do(kit: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"model={NAME} weights=random size=tiny"):
        kit.make(NAME, weights=str(tmp_path / "nothing")).load(kit.llm(22))


def test_shards_of_deeper_blocks_may_be_absent(kit: Any, tmp_path: Path) -> None:
    """Blocks beyond the deepest one asked for are never opened."""
    folder = kit.copy(NAME, tmp_path / "copy", dict)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    deep = {key for key in tensors if any(f"layers.{n}." in key for n in (3, 4, 5)) or "lm_head" in key}
    save_file({key: value for key, value in tensors.items() if key not in deep}, folder / "model-1.safetensors")
    places = {key: "model-2.safetensors" if key in deep else "model-1.safetensors" for key in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    adapter = kit.make(NAME, size="tiny", weights=str(folder))
    adapter.load(kit.llm(3))
    assert torch.equal(kit.run(adapter, kit.clip())["llm.b3"], kit.features(NAME)["llm.b3"])
    with pytest.raises(ModelError, match=r"model-2\.safetensors"):
        adapter.load(kit.llm(4))


def test_a_grid_that_the_file_does_not_state_is_refused(kit: Any) -> None:
    """The silent catastrophe of a wrong pixel budget: frames of 4x8 tokens."""
    from configs.errors import ConfigError
    from extract.adapter import Variant
    from extract.vlm.qwen.adapter import build

    model = load_model(NAME)
    model.settings["pixel_budget"] = [204, 40000]
    with pytest.raises(ConfigError, match="another token grid"):
        build(model, Variant())


def test_untrained_weights_do_not_depend_on_depth() -> None:
    """A block added later sees the same network: every module has a seed of its own name."""
    from extract.vlm.network import untrained_network
    from extract.vlm.qwen.adapter import GENERATIONS

    family = GENERATIONS["qwen3_vl"]

    def network(depth: int, seed: int) -> dict[str, Any]:
        config = family.config(family.tiny_architecture, lambda token: 261)
        made = untrained_network(config, depth=depth, seed=seed, dtype=torch.float32, device="cpu")
        return dict(made.named_parameters())

    short, long, other = network(2, 0), network(5, 0), network(2, 1)
    assert all(torch.equal(value, long[key]) for key, value in short.items())
    key = "language_model.layers.1.mlp.up_proj.weight"
    assert not torch.equal(short[key], other[key])
    assert not torch.equal(long[key], long["language_model.layers.0.mlp.up_proj.weight"])
    assert 0.015 < short[key].std() < 0.025  # the library's initialisation, not fan-in
