"""diffusers and transformers: dtypes, quiet loading, whole models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from extract.adapter import Variant
from extract.model import ModelConfig
from extract.weights.checkpoint import explained


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep diffusers and transformers from drawing bars and printing lists while they load or save."""
    import diffusers
    import transformers

    before = diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled(), diffusers.logging.is_progress_bar_enabled()
    for library in (diffusers, transformers):
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.logging.set_verbosity(before[0])
        transformers.logging.set_verbosity(before[1])
        if bars[0]:
            transformers.logging.enable_progress_bar()
        if bars[1]:
            diffusers.logging.enable_progress_bar()


def model_dtype(model: ModelConfig, variant: Variant) -> str:
    """Return the dtype in which the model is meant to run, and its features to be stored."""
    return model.paper_dtype if variant.protocol == "paper" and model.paper_dtype else model.dtype


def compute_dtype(model: ModelConfig, variant: Variant) -> str:
    """Return the dtype of the arithmetic: as requested, else float32 on CPU and the model's own on an accelerator."""
    if variant.dtype != "auto":
        return variant.dtype
    return "float32" if variant.device.startswith("cpu") else model_dtype(model, variant)


def load_library_model(cls: Any, folder: Path, **options: Any) -> Any:
    """Load a whole transformers model from local safetensors files; refuses a snapshot that lacks tensors.

    Raises:
        ModelError: files or tensors are missing or broken.
    """
    with explained(f"can't load {cls.__name__}", folder, "download the model again"), quiet_libraries():
        model, info = cls.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    if info["missing_keys"]:
        raise ModelError(
            f"the weights of {cls.__name__} are incomplete", where=folder,
            found=f"{len(info['missing_keys'])} tensors missing, first {sorted(info['missing_keys'])[:3]}",
            fix="download the model again",
        )  # fmt: skip
    return model.eval().requires_grad_(False)
