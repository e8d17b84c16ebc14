"""Tiny snapshots of every family, adapters that load them, clips, and the library's own forward as oracle."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extract.adapter import ClipInput, Tap, Variant
from extract.families import build_adapter
from extract.frames import image_plan
from extract.model import ModelConfig, load_model
from tests.extract.pictures import batch_of


class Kit:
    """What the tests of vision-language adapters do again and again; everything slow is done once per session."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @functools.cache  # noqa: B019
    def model(self, name: str) -> ModelConfig:
        """Configuration of a model, read once; not to be changed."""
        return load_model(name)

    def make(self, name: str, **variant: Any) -> Any:
        """Build an adapter through the family module that the model's file names."""
        model = self.model(name)
        return build_adapter(model, Variant(**variant))

    def snapshot(self, name: str) -> Path:
        """Folder of the tiny snapshot, whose weights make successive blocks differ clearly."""
        folder: Path = self.loaded(name, *self.llm(3)).folder
        return folder

    def copy(self, name: str, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
        """Copy a tiny snapshot; `change` maps its tensors to other ones."""
        from safetensors.torch import load_file, save_file

        shutil.copytree(self.snapshot(name), folder)
        tensors = change(load_file(folder / "model.safetensors"))
        save_file({key: value.clone().contiguous() for key, value in tensors.items()}, folder / "model.safetensors")
        return folder

    @functools.cache  # noqa: B019
    def loaded(self, name: str, *taps: Tap) -> Any:
        """Adapter of the tiny snapshot with the given taps loaded."""
        adapter = self.make(name, size="tiny", cache=str(self.root))
        adapter.load(taps)
        return adapter

    def llm(self, *blocks: int) -> list[Tap]:
        return [Tap(name="llm", block=block) for block in blocks]

    def clip(self, seed: int = 0, size: tuple[int, int] = (128, 128), length: int = 81) -> ClipInput:
        """A clip of coloured squares as the reader hands it over, determined by seed and position."""
        frames = []
        for position in (min(each, length - 1) for each in image_plan().positions):
            rng = np.random.default_rng([seed, position])
            squares = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
            frames.append(squares.repeat(8, 0).repeat(8, 1))
        return ClipInput(clip_id=f"clip{seed}", frames=np.stack(frames), length=length)

    def run(self, adapter: Any, *clips: ClipInput) -> dict[str, Any]:
        return dict(adapter.forward(batch_of(adapter, clips)))

    def inputs(self, adapter: Any) -> dict[str, Any]:
        """What the library's network is given for `clip()`."""
        return dict(adapter.network_inputs(batch_of(adapter, [self.clip()])))

    @functools.cache  # noqa: B019
    def features(self, name: str) -> dict[str, Any]:
        """Features of `clip()` from all blocks and the vision tower."""
        return self.run(self.loaded(name, *self.llm(1, 2, 3, 4, 5, 6), Tap(name="vision")), self.clip())

    @functools.cache  # noqa: B019
    def library(self, name: str) -> Library:
        return Library(self.make(name, size="tiny"), self.snapshot(name), self.clip())


class Library:
    """The whole network, loaded and run by transformers, on pixels from its own Pillow processor."""

    def __init__(self, adapter: Any, folder: Path, clip: ClipInput) -> None:
        from transformers import AutoModelForImageTextToText

        from extract.weights.libraries import load_tokenizer

        whole, report = AutoModelForImageTextToText.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        assert not report["missing_keys"]
        self.adapter, self.folder, self.clip, self.network = adapter, folder, clip, whole.model.eval()
        self.qwen = hasattr(self.network, "visual")
        self.tokenizer: Any = load_tokenizer(folder, "model")

    def pixels(self) -> dict[str, Any]:
        """Arguments of the network, from the frames of `clip` squeezed to the first target size.

        They are cloned, as memory of NumPy is aligned to fewer bytes, on which the order of a sum may depend.
        """
        from PIL import Image
        from transformers import GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil

        family, (rows, columns) = self.adapter.family, self.adapter.layout.resize[0]
        frames = [
            Image.fromarray(frame).resize((columns, rows), Image.Resampling.BICUBIC) for frame in self.clip.frames
        ]
        look: dict[str, Any] = {"image_mean": list(family.mean), "image_std": list(family.std)}
        if not self.qwen:
            processor = GotOcr2ImageProcessorPil(size={"height": rows, "width": columns}, crop_to_patches=False, **look)
            return {"pixel_values": processor(frames, return_tensors="pt")["pixel_values"].clone()}
        low, high = self.adapter.model.settings["pixel_budget"]
        processor = Qwen2VLImageProcessorPil(
            patch_size=family.patch, size={"shortest_edge": low, "longest_edge": high}, **look
        )
        return {key: value.clone() for key, value in processor(frames, return_tensors="pt").items()}

    def token_ids(self, tail: str = "") -> Any:
        """Token numbers (1, tokens) of the prompt and `tail`, as the library's own tokenizer makes them from text."""
        from extract.vlm.text import chat_text

        markup, (rows, columns) = self.adapter.family.markup, self.adapter.layout.grid
        text = chat_text(self.adapter.prompt, markup, 20).replace(markup.image, markup.image * rows * columns)
        return self.tokenizer(text + tail, return_tensors="pt").input_ids

    @functools.cache  # noqa: B019
    def hidden_states(self, tail: str = "") -> tuple[list[Any], list[Any]]:
        """`hidden_states` at the visual tokens, each (20, y, x, C), and what entered each decoder layer there.

        Only without a tail are they comparable with the adapter's bit for bit: a matrix product of another shape may
        sum in another order.

        Args:
            tail: text after the prompt.
        """
        import torch

        rows, columns = self.adapter.layout.grid
        ids = self.token_ids(tail)
        visual = ids[0] == self.tokenizer.convert_tokens_to_ids(self.adapter.family.markup.image)
        kinds = {"mm_token_type_ids": visual[None].int()} if self.qwen else {}
        entered: list[Any] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0][0][visual]))
            for layer in self.network.language_model.layers
        ]
        with torch.inference_mode():
            out = self.network(input_ids=ids, **kinds, **self.pixels(), output_hidden_states=True, use_cache=False)
        for hook in hooks:
            hook.remove()
        states = [state[0][visual].reshape(20, rows, columns, -1) for state in out.hidden_states]
        return states, [tokens.reshape(20, rows, columns, -1) for tokens in entered]


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """See `Kit`."""
    return Kit(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="session", params=["qwen3-vl-8b", "qwen2.5-vl-7b", "internvl3.5-8b"])
def name(request: pytest.FixtureRequest) -> str:
    """One model of every family."""
    return str(request.param)
