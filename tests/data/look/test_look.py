"""inspect, verify and preview: they find what is broken and show what is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import CorruptionError
from configs.files import sealed_json
from data.dataset.layout import clip_folder
from data.dataset.queries import freeze_plan, load_plan, plan_file
from data.dataset.reader import PreparedDataset
from data.look.inspect import inspect, positive_rates
from data.look.preview import preview_sheet, write_previews
from data.look.reprojection import reproject
from data.look.verify import verify, verify_clip
from data.prepare.prepare import prepare
from tests.data.toy import DEFAULT_SHAPES, Shape, ToySource


@pytest.fixture(scope="module")
def small_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "d"
    prepare(ToySource({"plain_00": Shape(query_only=True), "plain_01": Shape(query_only=True)}), path, workers=1)
    return path


@pytest.fixture
def copy(small_path: Path, tmp_path: Path) -> Path:
    """A dataset that a test may damage."""
    return Path(shutil.copytree(small_path, tmp_path / "toy"))


def test_inspect_names_everything(toy: PreparedDataset, capsys: pytest.CaptureFixture[str]) -> None:
    inspect(toy)
    shown = capsys.readouterr().out
    for part in ("7 clips", "chair", "96x54", "50x28", "outside the taxonomy: 7", "paper-4"):
        assert part in shown
    assert "warning: invalid_00: frame 80 is repeated" in shown


def test_positive_rates(toy: PreparedDataset) -> None:
    train = toy.split("train")
    rates = positive_rates(toy, "train")
    by_hand = np.mean(
        [
            ((c := toy.class_pixels(k, toy.positions(k).tolist())).sum(0) >= 200 * np.prod(toy.gt_size(k)) / 388800)
            & ((c > 0).sum(0) >= 2)
            for k in train
        ],
        axis=0,
    )
    assert np.allclose(rates, by_hand) and rates[0] > 0 and rates[1] == 0


def test_verify_passes_a_good_dataset(toy: PreparedDataset, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(toy, workers=1) == 0
    report = verify_clip(toy.path, 6, "plain_00")
    assert report.depth > 0.99 and report.instance > 0.9


@pytest.mark.parametrize(
    "file", ["frames/00005.jpg", "frames.parquet", "gt.zarr/depth/c/0/0/0", "gt.zarr/zarr.json", "clip.json"]
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_verify_finds_damage(copy: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = clip_folder(copy, "plain_01") / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 0x10
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[:-7])
    else:
        path.unlink()
    assert verify(PreparedDataset(copy), workers=1) == 1
    shown = capsys.readouterr().out
    assert file in shown and "plain_01" in shown and "fix:" in shown


@pytest.mark.parametrize("file", ["queries/paper-4", "report.json", "quarantine/lost.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_verify_finds_damage_outside_the_clips(
    copy: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "report.json").write_bytes(sealed_json({"clips": 7}))
    (copy / "quarantine/lost.json").write_bytes(sealed_json({"clip_id": "lost", "reason": "cut off"}))
    dataset = PreparedDataset(copy)
    freeze_plan(dataset, load_plan(dataset, "paper-4"))
    path = plan_file(dataset, "paper-4") if file == "queries/paper-4" else copy / file
    assert verify(dataset, workers=1) == 0
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x01
    path.write_bytes({"flip": content, "truncate": content[:-7], "empty": b""}[damage])
    capsys.readouterr()
    assert verify(dataset, workers=1) == 1
    shown = capsys.readouterr().out
    assert file in shown and "fix:" in shown and "delete" in shown


def test_verify_tells_what_plans_leave_out_and_of_plans_for_other_clips(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = {"plain_00": Shape(query_only=True), "short_00": Shape(30, query_only=True)}
    prepare(ToySource(shapes), tmp_path / "d", plans=["paper-8"], workers=1)
    (tmp_path / "d/queries/paper-2.00000000.json").write_bytes(sealed_json({"plan": "paper-2"}))
    assert verify(PreparedDataset(tmp_path / "d"), workers=1) == 0
    shown = capsys.readouterr().out
    assert "plan paper-8 leaves out 1 clips that are too short (short_00" in shown
    assert "paper-2.00000000.json is for another set of clips" in shown


def test_verify_finds_foreign_files(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clip_folder(copy, "plain_01") / "notes.txt").write_text("x")
    (copy / "clips/.tmp-left").mkdir()
    assert verify(PreparedDataset(copy), workers=1) == 1
    shown = capsys.readouterr().out
    assert "notes.txt" in shown and ".tmp-left is left by an interrupted run" in shown


def test_reading_damaged_pixels_is_a_clear_error(copy: Path) -> None:
    dataset = PreparedDataset(copy)
    jpeg = clip_folder(copy, "plain_00") / "frames/00005.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:100])
    with pytest.raises(CorruptionError, match=r"00005\.jpg") as caught:
        dataset.frames("plain_00", [5])
    assert "prepare" in str(caught.value)
    for name in ("depth", "instance"):
        chunk = clip_folder(copy, "plain_00") / f"gt.zarr/{name}/c/0/0/0"
        content = bytearray(chunk.read_bytes())
        content[10] ^= 1
        chunk.write_bytes(content)
    with pytest.raises(CorruptionError, match="depth"):
        dataset.depth("plain_00", [0])
    with pytest.raises(CorruptionError, match="instance"):
        dataset.instance_maps("plain_00", [0])


def test_verify_finds_wrong_geometry() -> None:
    depth = np.full((20, 20), 2.0, np.float32)
    k = np.array([[20, 0, 10], [0, 20, 10], [0, 0, 1]], np.float32)
    pose, moved = np.eye(4, dtype=np.float32), np.eye(4, dtype=np.float32)
    moved[0, 3] = 0.3
    good = reproject(depth, depth, (k, k), (pose, moved))
    assert good.depth == 1 and 300 < good.covisible < 400
    moved[2, 3] = 0.1  # a pose that the depth does not know of
    assert reproject(depth, depth, (k, k), (pose, moved)).depth == 0


@pytest.mark.parametrize("clip_id", list(DEFAULT_SHAPES))
def test_preview(toy: PreparedDataset, clip_id: str) -> None:
    sheet = np.asarray(preview_sheet(toy, clip_id))
    assert sheet.shape[1] > 400 and sheet.std() > 20
    assert len(np.unique(sheet.reshape(-1, 3)[::97], axis=0)) > 30


def test_preview_files(toy: PreparedDataset, tmp_path: Path) -> None:
    (path,) = write_previews(toy, ["portrait_00"], tmp_path / "sheets")
    assert path.name == "portrait_00.png" and Image.open(path).size[0] > 400
