"""What the importer makes of sound recordings equals what the generator made them from."""

from __future__ import annotations

import functools
import io
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError, DatasetError, MissingError, StaleError
from data.dataset.clip import ClipRefused
from data.dataset.reader import PreparedDataset
from data.dataset.splits import halve
from data.emit.scannet_scan import RawScan, pack_depth, write_sens, write_zip
from data.prepare.prepare import prepare
from data.raw.images import encode_jpeg
from data.rooms.source import RoomsSource
from data.scannet.config import ScannetConfig
from data.scannet.scans import find_scans, read_lists
from data.scannet.source import ScannetSource

Release = Callable[..., ScannetSource]


def counted(work: Callable[[], object]) -> int:
    """Bytes that this process read while working, as the kernel counts them."""

    def counter() -> int:
        return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])

    cost = counter()
    cost, start = counter() - cost, counter()
    work()
    return counter() - start - cost


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, rooms: RoomsSource) -> PreparedDataset:
    """The generator's own prepared dataset."""
    path = tmp_path_factory.mktemp("rooms") / "made"
    prepare(rooms, path, workers=1)
    return PreparedDataset(path)


@pytest.mark.parametrize("stored", ["sens", "exported"])
def test_prepared_dataset_equals_the_generators_own(
    tmp_path: Path, raw: Path, made: PreparedDataset, stored: str
) -> None:
    assert prepare(ScannetSource(ScannetConfig(source=stored), raw), tmp_path / "d", workers=1).made == 3
    imported = PreparedDataset(tmp_path / "d")
    for scan, room in (("scene0000_00", "room00000"), ("scene0001_00", "room00001")):
        everywhere, queries = range(81), made.query_positions(room)
        assert imported.query_positions(scan) == queries
        assert imported.positions(scan).tolist() == list(everywhere)
        for position in everywhere:
            assert imported.frame_bytes(scan, position) == made.frame_bytes(room, position)
        np.testing.assert_array_equal(imported.sources(scan), made.sources(room))
        np.testing.assert_array_equal(imported.instance_maps(scan, queries), made.instance_maps(room, queries))
        np.testing.assert_array_equal(imported.class_pixels(scan, everywhere), made.class_pixels(room, everywhere))
        depth, exact = imported.depth(scan, queries), made.depth(room, queries)
        assert np.abs(depth - exact).max() < 0.0005 + 2 * exact.max() / 2**13  # millimetres, and rounding twice
        ours, theirs = imported.cameras(scan, everywhere), made.cameras(room, everywhere)
        np.testing.assert_allclose(ours.intrinsics, theirs.intrinsics, atol=1e-5)
        np.testing.assert_array_equal(ours.valid, theirs.valid)
        assert 0 < (~ours.valid).sum() < 20 and np.isneginf(ours.cam2world[~ours.valid]).all()
        valid = ours.valid
        np.testing.assert_allclose(ours.cam2world[valid], theirs.cam2world[valid], atol=1e-6)
        columns = ["instance", "class_index", "raw_label", "is_thing", "source_id", "n_frames", "pixels"]
        assert imported.instances(scan)[columns].values.tolist() == made.instances(room)[columns].values.tolist()
    row = imported.clips.loc["scene0000_00"]
    assert (row.depth_kind, row.pose_kind, row.source, bool(row.id_check_ok)) == ("sensor", "sensor", stored, True)
    assert "ceiling" in row.warnings and "invalid poses" in row.warnings
    groups = dict(zip(imported.clips.clip_id, imported.clips.group_id, strict=True))
    assert groups == {"scene0000_00": "scene0000", "scene0000_01": "scene0000", "scene0001_00": "scene0001"}


def test_rescans_show_the_same_room_from_elsewhere(raw: Path) -> None:
    source = ScannetSource(ScannetConfig(), raw)
    first, again = source.make("scene0000_00"), source.make("scene0000_01")
    assert [i.raw_label for i in first.instances] == [i.raw_label for i in again.instances]
    assert not np.allclose(first.cam2world[0], again.cam2world[0])


def test_reading_little_more_than_what_is_kept(release: Release, scan: RawScan) -> None:
    """81 images and 20 depth images out of a long scan, and less than a tenth of their bytes besides."""
    rng = np.random.default_rng(0)
    noise = [encode_jpeg(rng.integers(0, 256, (*scan.size, 3), np.uint8), 100) for _ in range(81)]  # 8 kB each
    film = replace(scan, colour=tuple(noise))
    film = RawScan(**{**vars(film), **film.frames(np.arange(500) % 81)})
    source = release(film=film, layout="sens", annotations="none")
    clip = source.make("scene0000_00")  # imports modules, too
    kept = sum(len(film.colour[rank]) for rank in clip.frame_src.tolist())
    kept += sum(len(pack_depth(film.depth[rank])) for rank in clip.frame_src[clip.gt_frames].tolist())
    read = counted(lambda: source.make("scene0000_00"))
    whole = (source.raw.root / "scans/scene0000_00/scene0000_00.sens").stat().st_size
    assert len(set(clip.frame_src.tolist())) == 81 and kept < whole / 4
    assert kept <= read < 1.1 * kept, (kept, read)


def test_resizing(release: Release, scan: RawScan) -> None:
    source = release(frame_height=24, frame_width=40, gt_height=96, gt_width=128)
    clip = source.make("scene0000_00")
    assert clip.frame_size == (24, 40) and clip.gt_size == (96, 128)
    with Image.open(io.BytesIO(clip.frames[3])) as image:
        assert image.size == (40, 24)
    np.testing.assert_allclose(clip.intrinsics[0], np.diag([2, 2, 1]) @ scan.intrinsics, rtol=1e-6)
    plain = ScannetSource(ScannetConfig(), source.raw.root).make("scene0000_00")
    assert clip.instance is not None and plain.instance is not None and clip.depth is not None
    np.testing.assert_array_equal(clip.instance[:, ::2, ::2], plain.instance)
    np.testing.assert_array_equal(clip.depth[:, 1::2, 1::2], plain.depth)
    assert clip.class_pixels is not None and plain.class_pixels is not None
    np.testing.assert_array_equal(clip.class_pixels, 4 * plain.class_pixels)


def test_several_clips_of_a_scan(release: Release, scan: RawScan) -> None:
    film = RawScan(**{**vars(scan), **scan.frames(np.arange(200) % 81)})
    source = release({"scene0000_00": None, "scene0001_00": "empty_sens"}, film, "sens", clips="all", window=81)
    assert source.clip_ids() == ["scene0000_00-000", "scene0000_00-001", "scene0001_00-000"]
    first, second = (source.make(clip_id) for clip_id in source.clip_ids()[:2])
    assert (first.frame_src[0], first.frame_src[-1], second.frame_src[0], second.frame_src[-1]) == (0, 99, 100, 199)
    assert first.group_id == second.group_id == "scene0000" and first.instances == second.instances
    with pytest.raises(DatasetError, match="header"):
        source.make("scene0001_00-000")
    for wrong in ("scene0000_00", "scene0000_00-002", "scene0009_00-000", "-", ""):
        with pytest.raises(MissingError, match="no clip"):
            source.make(wrong)


def test_facts_of_the_text_file(release: Release, brief: RawScan) -> None:
    source = release({"scene0000_00": None, "scene0001_00": None}, brief, "sens", annotations="none")
    text = source.raw.root / "scans/scene0001_00/scene0001_00.txt"
    text.write_text("no key\nsceneType = Bedroom / Hotel\nnumColorFrames = 23\nnumDepthFrames = 21\n")
    assert source.make("scene0000_00").facts["scene_type"] == brief.room_type
    clip = source.make("scene0001_00")
    assert clip.facts["scene_type"] == "Bedroom / Hotel"
    assert "names 23 or 21 frames, the recording has 22" in clip.warnings[-1]
    text.write_text(text.read_text().replace("23", "22"))
    assert not any("text file" in warning for warning in source.make("scene0001_00").warnings)


def test_ground_truth_everywhere(release: Release, brief: RawScan) -> None:
    clip = release(film=brief, dense="all", layout="sens").make("scene0000_00")
    assert clip.depth is not None and len(clip.depth) == len(clip.gt_frames) == 81


def test_the_200_classes(release: Release, brief: RawScan) -> None:
    clip = release(film=brief, taxonomy="scannet200").make("scene0000_00")
    assert clip.class_pixels is not None and clip.class_pixels.shape == (81, 200)
    assert {i.raw_label: i.class_index for i in clip.instances}["floor"] == 2


def test_short_scans_are_refused_by_rule(release: Release) -> None:
    source = release({"scene0000_00": "frames_19", "scene0001_00": "frames_50"})
    with pytest.raises(ClipRefused, match="only 19 frames"):
        source.make("scene0000_00")
    clip = source.make("scene0001_00")
    assert clip.frame_dup.sum() == 31 and not clip.frame_dup[0]
    assert len({clip.frames[i] for i in np.flatnonzero(~clip.frame_dup).tolist()}) == 50
    lenient = ScannetSource(ScannetConfig(min_frames=19), source.raw.root)
    assert lenient.make("scene0000_00").frame_dup.sum() == 62


def test_what_may_be_missing(release: Release, brief: RawScan) -> None:
    source = release(film=brief)
    folder = source.raw.root / "scans/scene0000_00"
    shutil.rmtree(folder / "exported/depth")
    (folder / "scene0000_00_2d-instance-filt.zip").unlink()
    (folder / "scene0000_00.txt").unlink()
    root = source.raw.root
    with pytest.raises(MissingError, match="no depth images"):
        ScannetSource(ScannetConfig(source="exported"), root).make("scene0000_00")
    with pytest.raises(MissingError, match=r"instance images are missing[^$]*annotations=optional"):
        ScannetSource(ScannetConfig(), root).make("scene0000_00")
    lenient = ScannetSource(ScannetConfig(source="exported", depth="optional", annotations="optional"), root)
    clip = lenient.make("scene0000_00")
    assert clip.depth is None and clip.depth_kind == "none" and clip.instance is None and clip.class_pixels is None
    assert clip.facts["id_check_ok"] is None and clip.facts["scene_type"] is None
    assert list(clip.warnings)[-2:] == ["no depth images", "no aggregation or instance images"]


def test_split_lists(release: Release, brief: RawScan) -> None:
    names = [f"scene{room:04d}_{scan:02d}" for room in range(6) for scan in range(2)]
    source = release(dict.fromkeys(names), brief, "sens", annotations="none")
    root = source.raw.root
    assert {source.make(name).split for name in names} == {None}
    (root / "meta_data").mkdir()
    (root / "meta_data/scannetv2_train.txt").write_text("scene0000_00\nscene0000_01\n")
    (root / "scannetv2_val.txt").write_text("".join(f"scene{r:04d}_00\n" for r in range(1, 4)))
    (root / "scannetv2_test.txt").write_text("scene0004_00\n")
    listed = ScannetSource(ScannetConfig(annotations="none"), root)
    assert [name for name in names if name not in listed.clip_ids()] == ["scene0004_00", "scene0004_01"]
    assert listed.make("scene0000_01").split == "train"
    assert listed.make("scene0002_01").split == halve("scene0002") != "train"
    other = listed.make("scene0005_00")
    assert other.split is None and "no split list" in other.warnings[0]
    assert ScannetSource(ScannetConfig(annotations="none", lists="none"), root).make("scene0002_01").split is None
    (root / "scannetv2_val.txt").write_text("scene0000_01\n")
    with pytest.raises(DatasetError, match="room scene0000 is in two split lists"):
        ScannetSource(ScannetConfig(), root)
    (root / "scannetv2_val.txt").write_text("<html>\n")
    with pytest.raises(DatasetError, match="not a scan name"):
        read_lists({"val": root / "scannetv2_val.txt"})


def test_folders_of_the_published_preparation(release: Release, brief: RawScan) -> None:
    source = release(dict.fromkeys(["scene0000_00", "scene0001_00"]), brief, "sens", annotations="none")
    root = source.raw.root
    (root / "scans_train").mkdir()
    (root / "scans/scene0000_00").rename(root / "scans_train/scene0000_00")
    (root / "scans").rename(root / "scans_val")
    halves = ScannetSource(ScannetConfig(annotations="none"), root)
    assert halves.make("scene0000_00").split == "train" and halves.make("scene0001_00").split == halve("scene0001")
    alone = ScannetSource(ScannetConfig(annotations="none"), root / "scans_val/scene0001_00")
    assert alone.clip_ids() == ["scene0001_00"] and alone.make("scene0001_00").split is None
    shutil.copytree(root / "scans_val/scene0001_00", root / "scene0001_00")
    with pytest.raises(DatasetError, match="is there twice"):
        find_scans(halves.raw)


def test_rooms_across_folders(release: Release, brief: RawScan) -> None:
    root = release(dict.fromkeys(["scene0000_00", "scene0000_01"]), brief, "sens", annotations="none").raw.root
    for folder, name in (("scans_train", "scene0000_00"), ("scans_val", "scene0000_01")):
        (root / folder).mkdir()
        (root / "scans" / name).rename(root / folder / name)
    with pytest.raises(DatasetError, match="room scene0000 is in two folders"):
        ScannetSource(ScannetConfig(), root)


def test_one_room_in_three_splits(release: Release, scan: RawScan) -> None:
    source = release(film=scan, layout="sens", clips="all", window=20, splits="within", annotations="none")
    clips = [source.make(clip_id) for clip_id in source.clip_ids()]
    assert [clip.split for clip in clips] == ["train", "train", "select", "report"]
    assert len({clip.group_id for clip in clips}) == 4
    assert all("say nothing of other rooms" in clip.warnings[0] for clip in clips)
    with pytest.raises(ConfigError, match="clips=all"):
        ScannetSource(ScannetConfig(splits="within"), source.raw.root)


def test_unfiltered_projections(release: Release, brief: RawScan) -> None:
    """Without the filtered images the raw ones serve; their members lie in a folder of the same name."""
    source = release(film=brief, layout="sens")
    filtered = source.make("scene0000_00")
    folder = source.raw.root / "scans/scene0000_00"
    for kind in ("instance", "label"):
        path = folder / f"scene0000_00_2d-{kind}-filt.zip"
        with zipfile.ZipFile(path) as archive:
            members = {name.replace("-filt", ""): archive.read(name) for name in archive.namelist()}
        path.unlink()
        write_zip(folder / f"scene0000_00_2d-{kind}.zip", members)
    plain = source.make("scene0000_00")
    np.testing.assert_array_equal(plain.instance, filtered.instance)
    assert plain.facts["id_check_ok"] is True


def test_depth_camera_of_another_size(release: Release, brief: RawScan) -> None:
    source = release(film=brief, layout="sens")
    half = [pack_depth(image[::2, ::2]) for image in brief.depth]
    write_sens(
        source.raw.root / "scans/scene0000_00/scene0000_00.sens", brief.colour, half, brief.cam2world,
        brief.intrinsics, brief.size, (24, 32),
    )  # fmt: skip
    clip = source.make("scene0000_00")
    assert clip.depth is not None and clip.gt_size == (48, 64)
    doubled = np.repeat(np.repeat(brief.depth[clip.frame_src[5]][::2, ::2], 2, 0), 2, 1) / 1000
    np.testing.assert_allclose(clip.depth[list(clip.gt_frames).index(5)], doubled, rtol=1e-6)


def test_nothing_outside_is_read(release: Release, brief: RawScan, tmp_path: Path) -> None:
    """A scan that is a link out of the folder fails; the rest goes on."""
    source = release({"scene0000_00": None, "scene0001_00": None}, brief, "sens", annotations="none")
    root = source.raw.root
    shutil.move(root / "scans/scene0001_00", tmp_path / "elsewhere")
    (root / "scans/scene0001_00").symlink_to(tmp_path / "elsewhere")
    linked = ScannetSource(ScannetConfig(annotations="none", clips="all"), root)
    assert linked.clip_ids() == ["scene0000_00-000", "scene0001_00-000"]
    with pytest.raises(DatasetError, match="leads out of the raw data"):
        linked.make("scene0001_00-000")
    linked.make("scene0000_00-000")


def test_options_that_fit_nothing(release: Release, brief: RawScan, tmp_path: Path) -> None:
    source = release(film=brief, layout="sens")
    root = source.raw.root
    with pytest.raises(ConfigError, match="gt_height and gt_width"):
        ScannetSource(ScannetConfig(gt_height=540), root)
    with pytest.raises(MissingError, match="no scan 'scene0007_00'"):
        ScannetSource(ScannetConfig(scenes=["scene0007_00"]), root)
    with pytest.raises(DatasetError, match=r"no frames[^$]*exported"):
        ScannetSource(ScannetConfig(source="exported"), root).make("scene0000_00")
    with pytest.raises(MissingError, match="no split lists"):
        ScannetSource(ScannetConfig(lists=str(tmp_path)), root)
    with pytest.raises(MissingError, match="no scans here"):
        ScannetSource(ScannetConfig(labels="names"), tmp_path)
    (root / "scannetv2-labels.combined.tsv").unlink()
    with pytest.raises(MissingError, match=r"no labels table[^$]*labels=names"):
        ScannetSource(ScannetConfig(), root)
    named = ScannetSource(ScannetConfig(labels="names"), root).make("scene0000_00")
    assert {i.raw_label: i.class_index for i in named.instances}["floor"] == 1


def test_parameters_hold_what_changes_values(release: Release, brief: RawScan) -> None:
    source = release(film=brief, layout="sens")
    root, before = source.raw.root, source.info.parameters
    assert ScannetSource(ScannetConfig(dataset="x", scenes=["scene0000_00"]), root).info.parameters == before
    ours = ScannetSource(ScannetConfig(licence="recorded at home"), root).info
    assert ours.parameters == before and ours.licence == "recorded at home"
    assert "non-commercial" in source.info.licence
    assert ScannetSource(ScannetConfig(clips="all"), root).info.parameters != before
    table = root / "scannetv2-labels.combined.tsv"
    table.write_text(table.read_text() + "\n")
    assert ScannetSource(ScannetConfig(), root).info.parameters != before


def test_principal_point_from_pixel_centres(release: Release, scan: RawScan) -> None:
    clip = release(layout="sens", principal="centres").make("scene0000_00")
    np.testing.assert_allclose(clip.intrinsics[0, :2, 2], scan.intrinsics[:2, 2] + 0.5)


def test_rescans_right_below_the_raw_folder(release: Release, brief: RawScan) -> None:
    root = release(dict.fromkeys(["scene0000_00", "scene0000_01"]), brief, "sens", annotations="none").raw.root
    for folder in (root / "scans").iterdir():
        folder.rename(root / folder.name)
    (root / "scans").rmdir()
    source = ScannetSource(ScannetConfig(annotations="none"), root)
    assert [source.make(clip_id).group_id for clip_id in source.clip_ids()] == ["scene0000", "scene0000"]


@pytest.mark.parametrize("layout", ["sens", "exported"])
def test_changed_raw_data_is_not_mixed_with_old_clips(
    release: Release, brief: RawScan, tmp_path: Path, layout: str
) -> None:
    source = release(None, brief, layout)
    prepare(source, tmp_path / "d", workers=1)
    folder = source.raw.root / "scans/scene0000_00"
    again = functools.partial(ScannetSource, source.config, source.raw.root)
    (folder / "notes.txt").write_text("nothing that a clip is made from")
    assert prepare(again(), tmp_path / "d", workers=1).kept == 1
    aggregation = folder / "scene0000_00.aggregation.json"
    before = aggregation.read_bytes()
    aggregation.write_bytes(before.replace(b"wall", b"door"))
    with pytest.raises(StaleError, match="raw data of 1 clips has changed"):
        prepare(again(), tmp_path / "d", workers=1)
    aggregation.write_bytes(before)
    frames = folder / ("scene0000_00.sens" if layout == "sens" else "exported/color/3.jpg")
    frames.write_bytes(frames.read_bytes() + b"more")
    with pytest.raises(StaleError):
        prepare(again(), tmp_path / "d", workers=1)
    shutil.rmtree(folder / "exported") if layout == "exported" else frames.unlink()
    assert prepare(again(), tmp_path / "d", workers=1).kept == 1  # deleted after the import


@pytest.mark.parametrize(("camera", "images"), [("color", "colour"), ("depth", "depth")])
def test_matrices_of_larger_images_are_refused(release: Release, brief: RawScan, camera: str, images: str) -> None:
    """Exports are often shrunk, and their matrices left as they were."""
    source = release(None, brief, "exported")
    path = source.raw.root / f"scans/scene0000_00/exported/intrinsic/intrinsic_{camera}.txt"
    matrix = np.loadtxt(path)
    matrix[:2] *= 2.025
    np.savetxt(path, matrix)
    with pytest.raises(DatasetError, match=f"matrix of the {images} images is for images of another size"):
        source.make("scene0000_00")


def test_images_of_other_endings_keep_their_numbers(release: Release, brief: RawScan) -> None:
    """An image that can't be read fails the clip that needs it, instead of moving all later frames."""
    source = release({"scene0000_00": None}, brief, "exported")
    color = source.raw.root / "scans/scene0000_00/exported/color"
    with Image.open(color / "1.jpg") as image:
        image.save(color / "1.webp", lossless=True)
    (color / "1.jpg").unlink()
    (color / "overview.jpg").write_bytes((color / "2.jpg").read_bytes())
    (color / "notes.txt").write_text("x")
    clip = source.make("scene0000_00")
    assert np.unique(clip.frame_src).tolist() == list(range(len(brief.colour)))
    assert clip.warnings[0] == "1 left out (not a picture): notes.txt"
    assert clip.warnings[1] == "1 left out (its name is not a frame number): overview.jpg"
    (color / "1.webp").rename(color / "1.heic")
    (color / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DatasetError, match=r"1\.heic"):
        source.make("scene0000_00")
    (color / "1.heic").rename(color / "1.jpg.part")
    with pytest.raises(DatasetError, match=r"1\.jpg\.part"):
        source.make("scene0000_00")
