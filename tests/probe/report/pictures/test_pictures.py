"""Pictures against what they are made from: colours, points, cameras, choice of runs and clips."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs.errors import CorruptionError, MissingError
from data.dataset.reader import PreparedDataset
from fusion.opening import open_source
from probe.pictures import write_ply
from probe.report.contract import ReportData
from probe.report.page.document import Gallery, Missing, Scene
from probe.report.page.labels import Sources
from probe.report.pictures import choice, clouds
from probe.report.pictures.encode import FRAME_WIDTH, MAP_WIDTH, frame_image, map_image
from probe.report.pictures.features import feature_blocks
from probe.report.pictures.pca import pca_colours
from probe.report.pictures.section import pictures_section
from probe.tasks.geometry.report import clip_block as depth_block
from probe.tasks.geometry.report import scene_block
from probe.tasks.instance.report import clip_block as instance_block
from tests.probe.report.sample import SOURCES, run_id


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def unpack(cloud: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    places = np.frombuffer(base64.b64decode(cloud["positions"]), "<u2").reshape(-1, 3) / 65535
    low, high = np.array(cloud["low"]), np.array(cloud["high"])
    colours = np.frombuffer(base64.b64decode(cloud["colours"]), np.uint8).reshape(-1, 3)
    return low + places * (high - low), colours


@pytest.fixture(scope="module")
def dataset(page_root: Path) -> PreparedDataset:
    return PreparedDataset.open("toy", page_root)


def test_pca_colours_follow_the_components() -> None:
    random = np.random.default_rng(0)
    strength = np.array([9.0, 3.0, 1.0])
    hidden = random.standard_normal((2, 6, 7, 3)) * strength
    basis = np.linalg.qr(random.standard_normal((10, 10)))[0][:3]
    found = pca_colours(hidden @ basis)
    assert found.colours.shape == (2, 6, 7, 3) and found.explained == pytest.approx(1.0)
    for k in range(3):
        together = np.corrcoef(found.colours[..., k].ravel(), hidden[..., k].ravel())[0, 1]
        assert abs(together) > 0.95
    again = pca_colours(-1.0 * -(hidden @ basis))
    assert (again.colours == found.colours).all()


def test_pca_of_constant_or_narrow_features() -> None:
    flat = pca_colours(np.ones((1, 3, 3, 5)))
    assert (flat.colours == 128).all() and flat.explained == 0.0
    narrow = pca_colours(np.arange(9.0).reshape(1, 3, 3, 1))
    assert narrow.colours[..., 0].min() == 0 and narrow.colours[..., 0].max() == 255
    assert len(np.unique(narrow.colours[..., 1])) == 1


def test_maps_keep_their_cells_and_frames_are_reduced() -> None:
    cells = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    image = map_image(cells, "alt", size=(32, 48))
    assert (decode(image.uri) == cells).all() and image.pixelated and (image.width, image.height) == (48, 32)
    wide = map_image(np.zeros((300, 600, 3), np.uint8), "alt")
    assert decode(wide.uri).shape[1] == MAP_WIDTH
    frame = frame_image(np.full((480, 640, 3), 90, np.uint8), "alt")
    assert decode(frame.uri).shape == (round(480 * FRAME_WIDTH / 640), FRAME_WIDTH, 3)
    assert abs(int(decode(frame.uri).mean()) - 90) <= 2


def test_clouds_survive_packing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((500, 3)).astype(np.float32)
    colours = random.integers(0, 255, (500, 3), np.uint8)
    write_ply(tmp_path / "a.ply", points, colours)
    read = clouds.read_ply(tmp_path / "a.ply")
    assert (read.points == points).all() and (read.colours == colours).all()
    packed = clouds.pack(read, [0, 0, 0], 5.0)
    found, tints = unpack(packed)
    assert packed["count"] == 500 and packed["left_out"] == 0
    assert np.abs(found - points).max() < 1e-3 and (tints == colours).all()


def test_what_is_far_or_not_finite_is_left_out_and_counted() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [99, 0, 0], [np.nan, 0, 0]], np.float32)
    packed = clouds.pack(clouds.Cloud(points, np.zeros((4, 3), np.uint8)), [0, 0, 0], 1.0)
    assert packed["count"] == 2 and packed["left_out"] == 2
    many = clouds.Cloud(np.random.default_rng(0).random((50_000, 3)), np.zeros((50_000, 3), np.uint8))
    assert clouds.pack(many, [0, 0, 0], 1.0)["count"] == clouds.MAX_POINTS
    none = clouds.pack(clouds.Cloud(points[2:], np.zeros((2, 3), np.uint8)), [0, 0, 0], 1.0)
    assert none["count"] == 0 and none["positions"] == ""


@pytest.mark.parametrize("content", [b"", b"ply\nend_header\n", b"ply\nelement vertex 2\nend_header\nabc"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(CorruptionError):
        clouds.read_ply(tmp_path / "a.ply")


def test_camera_paths_have_centres_and_axes() -> None:
    angle = 0.3
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    centre = np.array([1.0, 2.0, 3.0])
    camera = np.concatenate([rotation, -(rotation @ centre)[:, None]], axis=1)[None]
    numbers = np.array(clouds.path("p", "red", camera)["cameras"][0])
    assert np.allclose(numbers[9:], centre, atol=1e-4) and np.allclose(clouds.centres(camera)[0], centre)
    ahead = rotation @ (centre + numbers[6:9]) + camera[0, :, 3]  # a step forward is a step along the camera's z
    assert np.allclose(ahead, [0, 0, 1], atol=1e-3)


def test_the_chosen_layer_of_each_source_is_shown_once(report: ReportData) -> None:
    runs = choice.shown_runs(report, "geometry")
    assert [run.source for run in runs] == [source["source"] for source in SOURCES]
    assert runs[0].run_id == run_id("geometry", "wan-t2v-1.3b")
    assert choice.common_clips(runs, 1) == ["room_2"]
    assert choice.prediction(runs[0], "room_3")["clip_id"] == "room_3"
    with pytest.raises(MissingError):
        choice.prediction(runs[0], "room_0")
    assert choice.predicted_clips(choice.shown_runs(report, "tagging")[0]) == ()


def test_features_of_every_layer_beside_the_frame(report: ReportData, dataset: PreparedDataset) -> None:
    (gallery,) = feature_blocks(report, Sources(report), dataset, "room_2")
    assert isinstance(gallery, Gallery)
    first = gallery.strips[0]
    assert first.columns == 3 and len(first.images) == 6  # two queries of: frame, block 1, block 2
    assert decode(first.images[1].uri).shape == (4, 4, 3)
    assert "block 1 of 2" in first.images[1].label and not first.images[0].pixelated
    assert gallery.strips[1].tags[0] == "random weights"


def test_depth_errors_are_those_of_the_predictions(report: ReportData, dataset: PreparedDataset) -> None:
    runs = choice.shown_runs(report, "geometry")
    block = depth_block(Sources(report), dataset, "room_2", runs)
    assert isinstance(block, Gallery)
    captions = [strip.caption for strip in block.strips]
    errors = {caption.split(":")[1].split(",")[0].strip(): float(caption.split()[-1]) for caption in captions[3::2]}
    assert errors["Oracle <all>"] == 0.0
    assert 0.0 < errors["WAN2.1-T2V-1.3B"] < errors["Position only"]
    assert (decode(block.strips[-1].images[0].uri) == decode(block.strips[-1].images[0].uri)[0, 0]).all()


def test_clusters_take_the_colours_of_the_objects(report: ReportData, dataset: PreparedDataset) -> None:
    block = instance_block(Sources(report), dataset, "room_2", choice.shown_runs(report, "instance"))
    assert isinstance(block, Gallery)
    truth, oracle, position = (
        np.concatenate([decode(image.uri) for image in strip.images])
        for strip in (block.strips[1], block.strips[-1], block.strips[-2])
    )
    agree = (truth == oracle).all(axis=-1).mean()
    assert agree > 0.75  # the oracle's clusters are the true ones on coarser cells
    assert (truth == position).all(axis=-1).mean() < agree


def test_scenes_hold_truth_and_predictions(report: ReportData, dataset: PreparedDataset) -> None:
    block = scene_block(Sources(report), dataset, "room_2", choice.shown_runs(report, "geometry"))
    assert isinstance(block, Scene)
    items = block.content["items"]
    assert len(items) == 1 + len(SOURCES)
    truth, oracle = unpack(items[0]["cloud"])[0], unpack(items[-1]["cloud"])[0]
    assert truth.shape == oracle.shape and np.abs(truth - oracle).max() < 1e-3
    true_path, predicted = items[-1]["paths"]
    assert np.allclose(true_path["cameras"], predicted["cameras"], atol=1e-3)
    assert "random weights" in items[2]["label"]


def test_points_that_were_not_kept_are_named_with_the_command(
    report: ReportData, dataset: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.tasks.geometry import report as geometry

    monkeypatch.setattr(geometry, "points_file", lambda run, clip_id: None)
    runs = choice.shown_runs(report, "geometry")
    block = geometry.scene_block(Sources(report), dataset, "room_2", runs)
    assert isinstance(block, Scene) and len(block.content["items"]) == 1
    assert f"spatialprobe probe predict run={runs[0].run_id}" in block.note


def test_one_missing_store_does_not_hide_the_others(report: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(root: object, dataset: str, source: str, store: str) -> object:
        if source == "position":
            raise MissingError("no feature store", fix="spatialprobe extract run model=position")
        return open_source(root, dataset, source, store)  # type: ignore[arg-type]

    monkeypatch.setattr("probe.report.pictures.features.open_source", missing)
    section = pictures_section(report, Sources(report))
    gallery = next(b for b in section.blocks if isinstance(b, Gallery) and b.title == "Features")
    assert len(gallery.strips) == len(SOURCES) - 1
    said = [block for block in section.blocks if isinstance(block, Missing)]
    assert any(
        "Position only" in block.text and block.command == "spatialprobe extract run model=position" for block in said
    )
