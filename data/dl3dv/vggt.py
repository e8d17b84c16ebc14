"""VGGT as a teacher: cameras of a whole window and depth of its query frames from one forward pass.

The package `vggt` is imported only when this teacher is chosen. As in the published protocol the whole window goes in
at once, frames are 518 pixels wide with the height rounded to a multiple of 14, and points come from depth and cameras.
Unlike there nothing is cropped (tall frames get 518 pixels of height instead), and only the query frames are kept.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, ModelError
from configs.files import read_json, sha256_file, write_atomic
from data.dl3dv.geometry import Footage, Geometry

if TYPE_CHECKING:
    import torch

PATCH = 14
INSTALL = 'pip install "vggt @ git+https://github.com/facebookresearch/vggt", or choose teacher=colmap'


class VggtTeacher:
    """Runs VGGT; the model is loaded at the first clip and never travels between processes.

    Args:
        checkpoint: hub id, or a local folder with `model.safetensors`, or such a file.
        revision: revision on the hub.
        side: pixels of the longer side that the model sees.
        device: "auto", "cpu", "cuda" or "cuda:<n>".

    Raises:
        ModelError: a local checkpoint is not there or not a safetensors file.
    """

    def __init__(self, checkpoint: str, revision: str | None, side: int, device: str) -> None:
        self.checkpoint, self.revision, self.side, self.device = checkpoint, revision, side, device
        self._local = _local_weights(checkpoint)
        self._identity = sha256_file(self._local) if self._local is not None else f"{checkpoint}@{revision or 'main'}"
        self._store: Path | None = None
        self._model: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model behind."""
        return {**self.__dict__, "_model": None}

    def parameters(self) -> Mapping[str, Any]:
        """Return the identity of the weights: a digest of local ones, wherever they lie, or hub id and revision."""
        return {"weights": self._identity}

    def use_store(self, folder: Path) -> None:
        """Keep answers in a folder from now on, and take them from there."""
        self._store = folder

    def known(self, clip_id: str) -> bool:
        """Return whether an answer for this clip is stored."""
        return self._store is not None and _answer_path(self._store, clip_id).is_file()

    def forget(self) -> None:
        """Give the model's memory back."""
        self._model = None

    def geometry(self, footage: Footage) -> Geometry:
        """Return the stored answer for these very frames, or ask the model.

        Raises:
            DatasetError: the model's answer is not finite.
            ModelError: package or weights are missing, or the memory does not suffice.
        """
        stored = None if self._store is None else _read_answer(_answer_path(self._store, footage.clip_id), footage)
        answer = stored if stored is not None else self.ask([footage])[0]
        if isinstance(answer, DatasetError):
            raise answer
        return answer

    def ask(self, batch: Sequence[Footage]) -> list[Geometry | DatasetError]:
        """Run the model on clips of one size and length in one forward pass, and store the answers.

        Returns:
            For each clip its geometry, or what is wrong with the model's answer.

        Raises:
            ModelError: package or weights are missing, or the memory does not suffice.
        """
        import torch

        model, device = self.load()
        images = torch.stack([_pixels(footage, self.side) for footage in batch]).to(device)
        try:
            predictions = _forward(model, images)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) > 1:
                del images
                torch.cuda.empty_cache()
                return [self.ask([footage])[0] for footage in batch]
            raise ModelError(
                "the accelerator's memory does not suffice for one clip", found=f"{tuple(images.shape)} images",
                fix="add window=81 or teacher_side=252, or device=cpu",
            ) from error  # fmt: skip
        answers = [_geometry(footage, predictions, i) for i, footage in enumerate(batch)]
        if self._store is not None:
            for footage, answer in zip(batch, answers, strict=True):
                if not isinstance(answer, DatasetError):
                    _write_answer(_answer_path(self._store, footage.clip_id), footage, answer)
        return answers

    def load(self) -> tuple[Any, torch.device]:
        """Return the model, loaded once, and its device.

        Raises:
            ModelError: package, weights or device are missing.
        """
        import torch

        name = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ModelError("unknown device", expected="auto, cpu, cuda or cuda:<n>", found=name) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ModelError("no CUDA device here", found=f"device={name}", fix="add device=cpu")
        if self._model is None:
            self._model = self._build().to(device).eval()
        return self._model, device

    def _build(self) -> Any:
        try:
            from vggt.models.vggt import VGGT  # type: ignore[import-not-found]
        except ImportError as error:
            raise ModelError("teacher=vggt needs the package vggt", found=str(error), fix=INSTALL) from error
        try:
            if self._local is None:
                model = VGGT.from_pretrained(self.checkpoint, revision=self.revision)
            else:
                from safetensors.torch import load_model

                model = VGGT(**_arguments(self._local.with_name("config.json")))
                load_model(model, self._local)
        except Exception as error:  # the hub's, safetensors' and torch's errors have no common base
            raise ModelError(
                f"can't load VGGT: {error}", where=self.checkpoint,
                fix=f"hf download {self.checkpoint}, or give a local folder as checkpoint=",
            ) from error  # fmt: skip
        for head in ("point_head", "track_head"):  # points follow from depth and cameras; nothing is tracked
            setattr(model, head, None)
        return model


def input_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return (height, width) that the model sees: the longer side `side`, both multiples of 14."""
    longest = max(height, width)
    return tuple(max(PATCH, round(x * side / longest / PATCH) * PATCH) for x in (height, width))  # type: ignore[return-value]


def _pixels(footage: Footage, side: int) -> torch.Tensor:
    """Return the stored frames as the model sees them, (T, 3, H, W) float32 in [0, 1]."""
    import torch
    from PIL import Image

    height, width = input_size(*footage.frame_size, side)
    frames = []
    for content in footage.frames:
        with Image.open(io.BytesIO(content)) as image:
            small = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        frames.append(np.asarray(small, np.float32).transpose(2, 0, 1) / 255)
    return torch.from_numpy(np.stack(frames))


def _forward(model: Any, images: torch.Tensor) -> dict[str, torch.Tensor]:
    import torch
    from vggt.utils.pose_enc import pose_encoding_to_extri_intri  # type: ignore[import-not-found]

    with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, images.device.type == "cuda"):
        predictions = model(images)
    missing = {"pose_enc", "depth", "depth_conf"} - set(predictions)
    if missing:
        raise ModelError(
            f"this version of vggt gives no {', '.join(sorted(missing))}", found=sorted(predictions), fix=INSTALL
        )
    world2cam, intrinsics = pose_encoding_to_extri_intri(predictions["pose_enc"].float(), images.shape[-2:])
    result = {"depth": predictions["depth"][..., 0], "confidence": predictions["depth_conf"]}
    result |= {"world2cam": world2cam, "intrinsics": intrinsics}
    return {name: value.float().cpu() for name, value in result.items()}


def _geometry(footage: Footage, predictions: Mapping[str, torch.Tensor], i: int) -> Geometry | DatasetError:
    query = list(footage.query)
    depth = predictions["depth"][i, query].numpy()
    sureness = predictions["confidence"][i, query].numpy()
    world2cam = predictions["world2cam"][i].double().numpy()
    intrinsics = predictions["intrinsics"][i].numpy()
    for name, value in {"depth": depth, "confidence": sureness, "poses": world2cam, "intrinsics": intrinsics}.items():
        if not np.isfinite(value).all():
            return DatasetError(
                f"VGGT's {name} of this clip are not finite", where=footage.clip_id,
                fix="look at its frames; leave the clip out with allowed_failures=1",
            )  # fmt: skip
    count = len(footage.frames)
    return Geometry(
        kind="vggt",
        size=(depth.shape[1], depth.shape[2]),
        intrinsics=intrinsics.astype(np.float32),
        cam2world=_inverse(world2cam).astype(np.float32),
        valid=np.ones(count, np.bool_),
        depth=np.maximum(depth, 0).astype(np.float32),
        confidence=(1 - 1 / np.maximum(sureness, 1)).astype(np.float16),
    )


def _inverse(world2cam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (T, 4, 4) camera-to-world of (T, 3, 4) rigid world-to-camera."""
    turned = world2cam[:, :, :3].transpose(0, 2, 1)
    poses = np.tile(np.eye(4), (len(world2cam), 1, 1))
    poses[:, :3, :3] = turned
    poses[:, :3, 3] = -np.einsum("tij,tj->ti", turned, world2cam[:, :, 3])
    return poses


def _local_weights(checkpoint: str) -> Path | None:
    """Return the local safetensors file that a checkpoint names, None if it is a hub id."""
    path = Path(checkpoint).expanduser()
    if path.is_dir() and (path / "model.safetensors").is_file():
        return path / "model.safetensors"
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if not path.exists() and checkpoint.count("/") == 1 and checkpoint[0] not in "./~":
        return None
    raise ModelError(
        "no such weights of VGGT", expected="a hub id, a folder with model.safetensors, or a .safetensors file",
        found="nothing" if not path.exists() else "no safetensors; pickled weights are not loaded", where=path,
        fix="checkpoint=facebook/VGGT-1B, or a copy made with `hf download facebook/VGGT-1B --local-dir vggt`",
    )  # fmt: skip


def _arguments(path: Path) -> dict[str, Any]:
    """Return what the model was built with, from the file beside its weights; nothing if there is none."""
    return read_json(path, fix=f"delete {path}") if path.is_file() else {}


def _answer_path(store: Path, clip_id: str) -> Path:
    return store / f"{clip_id}.npz"


def _write_answer(path: Path, footage: Footage, answer: Geometry) -> None:
    assert answer.depth is not None and answer.confidence is not None
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, digest=np.frombuffer(bytes.fromhex(footage.digest), np.uint8), intrinsics=answer.intrinsics,
        cam2world=answer.cam2world, depth=answer.depth, confidence=answer.confidence,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _read_answer(path: Path, footage: Footage) -> Geometry | None:
    """Return a stored answer; None if there is none, it is damaged, or it was given for other frames."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if arrays["digest"].tobytes().hex() != footage.digest:
        return None
    depth = arrays["depth"]
    return Geometry(
        kind="vggt",
        size=(depth.shape[1], depth.shape[2]),
        intrinsics=arrays["intrinsics"],
        cam2world=arrays["cam2world"],
        valid=np.ones(len(footage.frames), np.bool_),
        depth=depth,
        confidence=arrays["confidence"],
    )
