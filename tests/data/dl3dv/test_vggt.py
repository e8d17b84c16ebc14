"""VGGT as a teacher, through a stub with the API of the real package: inputs, outputs, batches, resuming, refusals."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from configs.cli import main
from configs.errors import DatasetError, ModelError, StaleError
from configs.files import file_digests
from data.__main__ import VERBS
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.reader import PreparedDataset
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.kind import KIND
from data.dl3dv.source import DL3DVSource
from data.dl3dv.vggt import input_size
from data.prepare.prepare import prepare
from tests.data.dl3dv.conftest import PLANS, Raw
from tests.data.dl3dv.stub_vggt import VGGT, install

SIDE = 56
SIZE = (42, 56)
QUERY = [p for p in QUERY_POSITIONS if p < 10]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> type[VGGT]:
    return install(monkeypatch)


@pytest.fixture(scope="module")
def raw(emit: Callable[..., Raw]) -> Raw:
    """Two scenes and an upright one, as small as can be; read only."""
    return emit(clips=3, nested=0, distorted=0, frames=10, height=24, width=32)


def source_of(raw: Raw, **options: object) -> DL3DVSource:
    config = DL3DVConfig(teacher="vggt", teacher_side=SIDE, min_frames=8, **options)  # type: ignore[arg-type]
    return DL3DVSource(config, raw.folder)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [((540, 960), (294, 518)), ((960, 540), (518, 294)), ((480, 640), (392, 518)), ((10, 1000), (14, 518))],
)
def test_nothing_is_cropped_and_landscape_is_as_published(frame: tuple[int, int], expected: tuple[int, int]) -> None:
    assert input_size(*frame, 518) == expected


def test_what_the_model_says_is_stored(raw: Raw, stub: type[VGGT]) -> None:
    clip = source_of(raw).make(raw.scenes[0])
    assert stub.calls == [(1, 10, 3, *SIZE)] and stub.loaded == [("facebook/VGGT-1B", None)]
    assert clip.depth_kind == clip.pose_kind == "vggt" and clip.gt_size == SIZE and clip.frame_size == (24, 32)
    assert clip.gt_frames.tolist() == QUERY and clip.pose_valid.all() and len(clip.cam2world) == 10
    np.testing.assert_allclose(clip.intrinsics[3], [[28, 0, 28], [0, 28, 21], [0, 0, 1]], rtol=1e-5)
    for position in (0, 7, 9):
        turn = Rotation.from_euler("y", position, degrees=True).as_matrix()
        np.testing.assert_allclose(clip.cam2world[position, :3, :3], turn, atol=1e-5)
        np.testing.assert_allclose(clip.cam2world[position, :3, 3], [0, 0, position / 10], atol=1e-5)
    assert clip.depth is not None and clip.confidence is not None and clip.depth.shape == (len(QUERY), *SIZE)
    for row, position in enumerate(QUERY):
        seen = Image.open(io.BytesIO(clip.frames[position])).resize((56, 42), Image.Resampling.BICUBIC)
        depth = 1 + np.asarray(seen, np.float32).mean(axis=2) / 255
        np.testing.assert_allclose(clip.depth[row], depth, atol=1e-5)
        np.testing.assert_allclose(clip.confidence[row], 1 - 1 / (1 + depth), atol=1e-3)
    frames, turned = clip.facts["teacher_frames"], clip.facts["teacher_rot_err_deg"]
    assert isinstance(frames, int) and frames >= 5
    assert isinstance(turned, float) and turned > 0.1  # the stub is no good teacher


def test_scenes_without_cameras_need_none(raw: Raw, stub: type[VGGT], tmp_path: Path) -> None:
    shutil.copytree(raw.scene(0) / "images_4", tmp_path / raw.scenes[0] / "images_4")
    clip = DL3DVSource(DL3DVConfig(teacher="vggt", teacher_side=SIDE, min_frames=8), tmp_path).make(raw.scenes[0])
    assert clip.depth_kind == "vggt" and clip.facts["teacher_rot_err_deg"] is None


def neighbours(raw: Raw) -> bool:
    """Whether the two scenes of one size follow each other in the order of their hashes."""
    return sorted(raw.scenes).index(raw.scenes[2]) != 1


def test_batches_hold_clips_of_one_size(raw: Raw, stub: type[VGGT], tmp_path: Path) -> None:
    path = tmp_path / "d"
    prepare(source_of(raw, teacher_batch=3), path, plans=PLANS, workers=1)
    assert {shape[1:] for shape in stub.calls} == {(10, 3, *SIZE), (10, 3, 56, 42)}
    assert sum(shape[0] for shape in stub.calls) == 3
    assert {shape[1:]: shape[0] for shape in stub.calls}[(10, 3, *SIZE)] == (2 if neighbours(raw) else 1)
    assert len(stub.loaded) == 1  # one model, in this process
    single = tmp_path / "single"
    prepare(source_of(raw), single, plans=PLANS, workers=1)
    KIND.finish(path)
    KIND.finish(single)
    assert not (path / "teacher").exists() and file_digests(path) == file_digests(single)


def test_processes_find_the_answers_and_need_no_package(
    raw: Raw, stub: type[VGGT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers get is a copy without the model, in a process that may lack package and device."""
    source = source_of(raw)
    source.get_ready(tmp_path, source.clip_ids())
    calls = len(stub.calls)
    copy = pickle.loads(pickle.dumps(source))
    monkeypatch.setitem(sys.modules, "vggt", None)
    for name in raw.scenes:
        assert copy.make(name).depth_kind == "vggt"
    assert len(stub.calls) == calls == 3


def test_answers_survive_a_kill_and_are_not_asked_for_again(
    raw: Raw, stub: type[VGGT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "d"
    prepare(source_of(raw), whole, plans=PLANS, workers=1)
    KIND.finish(whole)
    real, left = VGGT.forward, 2

    def killed(self: VGGT, images: object, query_points: object = None) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return real(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(VGGT, "forward", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(source_of(raw), path, plans=PLANS, workers=1)
    assert len(list((path / "teacher").iterdir())) == 2 and not list((path / "clips").iterdir())
    monkeypatch.setattr(VGGT, "forward", real)
    stub.calls.clear()
    prepare(source_of(raw), path, plans=PLANS, workers=1)
    assert len(stub.calls) == 1
    KIND.finish(path)
    assert file_digests(path) == file_digests(whole)


def test_damaged_or_foreign_answers_are_asked_for_again(raw: Raw, stub: type[VGGT], tmp_path: Path) -> None:
    source, store = source_of(raw), tmp_path / "d" / "teacher"
    store.mkdir(parents=True)
    source.get_ready(tmp_path / "d", source.clip_ids())
    first, second, *_ = source.clip_ids()
    good = source.make(first)
    assert len(stub.calls) == 3
    (store / f"{first}.npz").write_bytes((store / f"{first}.npz").read_bytes()[:1000])
    (store / f"{second}.npz").write_bytes((store / f"{source.clip_ids()[2]}.npz").read_bytes())
    again = source.make(first)
    assert good.depth is not None and again.depth is not None and np.array_equal(good.depth, again.depth)
    source.make(second)
    assert len(stub.calls) == 5


def test_answers_that_are_not_finite_quarantine_that_clip_alone(
    raw: Raw, stub: type[VGGT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brightness = {}
    for name in raw.scenes:
        clip = DL3DVSource(DL3DVConfig(min_frames=8), raw.folder).make(name)
        brightness[name] = np.asarray(Image.open(io.BytesIO(clip.frames[0]))).mean() / 255
    darkest, second = sorted(brightness, key=lambda name: brightness[name])[:2]
    monkeypatch.setattr(VGGT, "poison", (brightness[darkest] + brightness[second]) / 2)
    summary = prepare(source_of(raw, teacher_batch=4), tmp_path / "d", plans=PLANS, workers=1, allowed_failures=1)
    assert list(summary.failed) == [darkest] and "not finite" in summary.failed[darkest]


def test_local_weights_are_known_by_content(raw: Raw, stub: type[VGGT], tmp_path: Path) -> None:
    from safetensors.torch import save_model

    for folder, offset in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        model = VGGT()
        model.offset.data.fill_(offset)
        (tmp_path / folder).mkdir()
        save_model(model, str(tmp_path / folder / "model.safetensors"))
    one, two, other = (source_of(raw, checkpoint=str(tmp_path / folder)) for folder in "abc")
    direct = source_of(raw, checkpoint=str(tmp_path / "a" / "model.safetensors"))
    assert one.info.parameters == two.info.parameters == direct.info.parameters != other.info.parameters
    near, far = one.make(raw.scenes[0]).depth, other.make(raw.scenes[0]).depth
    assert near is not None and far is not None
    np.testing.assert_allclose(far - near, 1, atol=1e-5)
    prepare(one, tmp_path / "d", plans=PLANS, workers=1)
    prepare(two, tmp_path / "d", plans=PLANS, workers=1)
    with pytest.raises(StaleError, match="weights"):
        prepare(other, tmp_path / "d", plans=PLANS, workers=1)


@pytest.mark.parametrize("checkpoint", ["./nowhere", "{tmp}", "{tmp}/model.pt", "no-hub-id"])
def test_weights_that_are_not_there(raw: Raw, tmp_path: Path, checkpoint: str) -> None:
    (tmp_path / "model.pt").write_bytes(b"pickle")
    with pytest.raises(ModelError, match=r"(?s)no such weights.*hf download facebook/VGGT-1B"):
        source_of(raw, checkpoint=checkpoint.format(tmp=tmp_path))


def test_a_missing_package_stops_the_run_with_the_command(
    raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "vggt", None)  # as if it were not installed, also where it is
    words = ["prepare", "kind=dl3dv", f"raw={raw.folder}", f"root={tmp_path}", "teacher=vggt"]
    words += ["workers=1", "min_frames=8"]
    assert main("data", "", VERBS, words) == 1
    shown = capsys.readouterr().err
    assert "needs the package vggt" in shown and "pip install" in shown and "teacher=colmap" in shown
    assert not list((tmp_path / "datasets/dl3dv/quarantine").iterdir())  # no clip is to blame


def test_weights_that_do_not_load(raw: Raw, stub: type[VGGT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, revision: str | None = None) -> VGGT:
        raise OSError("no connection to the hub")

    monkeypatch.setattr(VGGT, "from_pretrained", offline)
    with pytest.raises(ModelError, match=r"(?s)no connection.*hf download facebook/VGGT-1B"):
        source_of(raw).make(raw.scenes[0])
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    with pytest.raises(ModelError, match="can't load VGGT"):
        source_of(raw, checkpoint=str(tmp_path)).make(raw.scenes[0])
    with pytest.raises(ModelError, match="unknown device"):
        source_of(raw, device="gpu0").make(raw.scenes[0])


def test_another_version_of_the_package_is_reported(
    raw: Raw, stub: type[VGGT], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VGGT, "forward", lambda self, images: {"pred_depth": images})
    with pytest.raises(ModelError, match="gives no depth, depth_conf, pose_enc"):
        source_of(raw).make(raw.scenes[0])


def test_a_full_memory_splits_the_batch_then_says_what_helps(
    raw: Raw, stub: type[VGGT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    real = VGGT.forward

    def limited(self: VGGT, images: torch.Tensor, query_points: object = None) -> object:
        if len(images) > limit:
            raise torch.cuda.OutOfMemoryError
        return real(self, images)

    monkeypatch.setattr(VGGT, "forward", limited)
    limit = 1
    prepare(source_of(raw, teacher_batch=3), tmp_path / "d", plans=PLANS, workers=1)
    assert len(PreparedDataset(tmp_path / "d").clips) == 3
    limit = 0
    with pytest.raises(ModelError, match=r"(?s)memory does not suffice.*teacher_side="):
        source_of(raw).make(raw.scenes[0])


def test_broken_scenes_are_left_to_the_import(emit: Callable[..., Raw], stub: type[VGGT], tmp_path: Path) -> None:
    raw = emit(clips=2, portrait=0, nested=0, distorted=0, frames=10, height=24, width=32, broken=["empty_image"])
    source = source_of(raw)
    with pytest.raises(DatasetError, match="1 of 3 clips"):
        prepare(source, tmp_path / "d", plans=PLANS, workers=1)
    assert len(stub.calls) == 2
