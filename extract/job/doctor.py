"""Checks of the machine before a long job: devices, memory, disk, library versions, which weights are present."""

from __future__ import annotations

from dataclasses import dataclass

from configs import commands
from configs.cli import RootConfig
from configs.console import format_bytes, print_table
from configs.errors import ModelError
from configs.files import artifact_root, free_bytes
from configs.machine import package_version
from configs.options import option
from extract.adapter import Variant
from extract.families import build_adapter, usable_models
from extract.model import ModelConfig, load_model
from extract.weights.snapshot import find_weights

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "zarr", "dask", "huggingface-hub")


@dataclass(kw_only=True, frozen=True)
class DoctorConfig(RootConfig):
    """Options of `doctor`."""

    model: list[str] = option(help="models to look for; default all", factory=list)


def doctor(config: DoctorConfig) -> int:
    """Print the checks; returns 1 if something that every extraction needs is missing."""
    rows = [[name, package_version(name)] for name in PACKAGES]
    print_table("libraries", ["package", "version"], rows)
    missing = [str(name) for name, found in rows if found is None]
    print()
    if "torch" not in missing:
        _print_devices()
    root = artifact_root(config.root)
    print(f"disk     {format_bytes(free_bytes(root))} free at {root}\n")
    models, problems = usable_models()
    models = [load_model(name) for name in config.model] or [model for model in models if model.hub_id]
    print_table(
        "weights",
        ["model", "repository", "licence", "here"],
        [[model.name, model.hub_id, model.licence, _present(model)] for model in models],
        notes=[
            f"{commands.extract('download', model=commands.ANY)} fetches them; weights=random size=tiny needs none",
            *problems,
        ],
    )
    if missing:
        print(f"\nmissing: {', '.join(missing)}\n  fix:      pip install -e '.[extract]'")
    return 1 if missing else 0


def _print_devices() -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        print(f"device   cuda:{index} {facts.name}, {format_bytes(free)} of {format_bytes(total)} free")
    if not torch.cuda.device_count():
        print("device   cpu only: full-size video models need a GPU; tiny twins and controls don't")
    try:
        import psutil

        memory = psutil.virtual_memory()
        print(f"memory   {format_bytes(memory.available)} of {format_bytes(memory.total)} available")
    except ImportError:
        print("memory   unknown (psutil is not installed)")


def _present(model: ModelConfig) -> bool:
    """Whether the snapshots of all parts are present; missing shards and damage only show in a run."""
    try:
        build_adapter(model, Variant())
        find_weights("hub", model.hub_id, model.revision, model=model.name)
    except ModelError:
        return False
    return True
