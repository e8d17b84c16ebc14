"""Snapshots of video models with broken files: every one is refused with the file and what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.errors import CorruptionError, ModelError
from extract.adapter import Adapter, Variant
from extract.model import load_model
from extract.video.wan import tiny as small
from extract.video.wan.adapter import build
from tests.extract.pictures import taps
from tests.extract.video.models import Tiny

DEEP = "[" * 100_000
Make = Callable[[str, str | None], Adapter]
"""Path in the snapshot and new text of that file, None to remove it -> adapter of the snapshot."""


@pytest.fixture
def changed(tiny: Tiny, tmp_path: Path) -> Make:
    """Copies the twin's snapshot, changes one file, and takes the copy for trained weights."""

    def make(place: str, text: str | None) -> Adapter:
        folder = tmp_path / "copy"
        shutil.copytree(tiny("wan-i2v-14b").source.folders["vae"].parent, folder)
        file = folder / place
        file.parent.mkdir(exist_ok=True)
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        return build(small.shrink(load_model("wan-i2v-14b")), Variant(weights=str(folder)))

    return make


def test_an_unchanged_copy_loads(changed: Make) -> None:
    adapter = changed("README.md", "a copy")
    adapter.load(taps(adapter, (1,)))


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "image_encoder"])
@pytest.mark.parametrize("text", [None, "", "{", "null", "3", '{"num_layers": "x"}', DEEP])
def test_a_broken_configuration_is_refused(changed: Make, part: str, text: str | None) -> None:
    adapter = changed(f"{part}/config.json", text)
    with pytest.raises(ModelError) as caught:
        adapter.load(taps(adapter, (1,)))
    assert part in str(caught.value) and caught.value.found and caught.value.fix


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "image_encoder"])
def test_broken_tensors_are_refused(changed: Make, part: str) -> None:
    names = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
    adapter = changed(f"{part}/{names.get(part, 'model')}.safetensors", "not tensors")
    with pytest.raises(ModelError) as caught:
        adapter.load(taps(adapter, (1,)))
    assert part in str(caught.value) and caught.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", "null", DEEP])
def test_a_broken_noise_schedule_is_refused(changed: Make, text: str) -> None:
    adapter = changed("scheduler/scheduler_config.json", text)
    with pytest.raises(CorruptionError, match=r"scheduler_config\.json") as caught:
        adapter.load(taps(adapter, (1,)))
    assert caught.value.fix


def test_another_noise_schedule_is_refused(changed: Make) -> None:
    adapter = changed("scheduler/scheduler_config.json", '{"flow_shift": 7.0}')
    with pytest.raises(ModelError, match="another noise schedule") as caught:
        adapter.load(taps(adapter, (1,)))
    assert caught.value.found == {"flow_shift": 7.0} and caught.value.fix
