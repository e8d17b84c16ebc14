"""Words, classes, objects, windows, cameras: what the importer decides before it reads a pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import DatasetError
from data.dataset.taxonomy import SCANNET20, SCANNET200
from data.emit.scannet_scan import LABEL_IDS, labels_table
from data.scannet.annotation import Votes, disagreements
from data.scannet.cameras import camera_matrix, parse_matrix, register, scaled
from data.scannet.labels import SceneObject, as_instances, labels_by_name, parse_aggregation, read_labels
from data.scannet.recording import default_gt_size
from data.scannet.scans import all_windows, paper_window

TSV = labels_table()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.tsv"
    path.write_text(TSV)
    return path


def test_classes_of_words(table: Path) -> None:
    twenty, many = read_labels(table, SCANNET20), read_labels(table, SCANNET200)
    assert [twenty.class_of(name) for name in SCANNET20.names] == list(range(20))
    assert twenty.class_of("ceiling") == -1 and not twenty.knows("ceiling")
    assert many.class_of("sofa") == SCANNET200.index("couch") == 5
    assert many.class_of("shower curtain") == SCANNET200.index("shower curtain")


def test_columns_go_by_name(table: Path) -> None:
    rows = [line.split("\t") for line in TSV.splitlines()]
    table.write_text("".join("\t".join(reversed(row)) + "\n" for row in rows))
    assert read_labels(table, SCANNET20).classes == {name: i for i, name in enumerate(SCANNET20.names)}


def test_later_lines_win_and_are_reported(table: Path) -> None:
    table.write_text(TSV + "\t".join(["2", "wall", *[""] * 2, "5", *[""] * 12]) + "\n")
    labels = read_labels(table, SCANNET20)
    assert labels.class_of("wall") == SCANNET20.index("chair") and labels.ambiguous == {"wall"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks columns"),
        (TSV.replace("nyu40id", "nyu"), "lacks columns"),
        ("id\traw_category\tnyu40id\n1\twall\t\n", "maps no word"),
        ("id\traw_category\tnyu40id\n1\tpillow\t18\n", "maps no word"),
    ],
)
def test_tables_that_would_map_nothing(table: Path, text: str, message: str) -> None:
    table.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_labels(table, SCANNET20)
    assert str(table) in str(caught.value)


def test_taxonomy_of_200() -> None:
    assert len(SCANNET200) == len(set(SCANNET200.names)) == len(set(SCANNET200.source_ids)) == 200
    assert SCANNET200.source_ids[-1] == 1191 and SCANNET200.names[-1] == "mattress"
    assert {SCANNET200.names[i] for i in SCANNET200.stuff} == {"wall", "floor", "ceiling"}


def aggregated(*entries: dict[str, object]) -> bytes:
    return json.dumps({"sceneId": "x", "segGroups": list(entries)}).encode()


def group(number: object, label: object, segments: object = ()) -> dict[str, object]:
    return {"id": 0, "objectId": number, "label": label, "segments": segments}


def test_objects_become_instances(table: Path) -> None:
    objects = parse_aggregation(aggregated(group(9, "vase"), group(4, "chair"), group(0, "floor")), Path("x"))
    known = as_instances(objects, read_labels(table, SCANNET20), SCANNET20)
    described = [(i.id, i.class_index, i.raw_label, i.is_thing, i.source_id) for i in known.items]
    assert described == [(1, 1, "floor", False, 1), (2, 4, "chair", True, 5), (3, -1, "vase", False, 10)]
    assert known.compact[[0, 1, 2, 5, 10, 11]].tolist() == [0, 1, 0, 2, 3, 0]


def test_objects_listed_twice_are_merged(table: Path) -> None:
    objects = [SceneObject(1, "chair", (5, 6)), SceneObject(2, "chair", (7,)), SceneObject(32, "chair", (5, 6))]
    known = as_instances(objects, read_labels(table, SCANNET20), SCANNET20)
    assert len(known.items) == 2 and known.merged == (32,)
    assert known.compact[1] == known.compact[32] == 1
    without_mesh = [SceneObject(1, "chair", ()), SceneObject(2, "chair", ())]
    assert len(as_instances(without_mesh, read_labels(table, SCANNET20), SCANNET20).items) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"{", "not a readable JSON"),
        (b"[]", "lacks what it should have"),
        (b'{"segGroups": [{"objectId": NaN}]}', "NaN"),
        (b'{"segGroups": [], "segGroups": []}', "repeats"),
        (aggregated(group("1", "chair")), "objectId '1'"),
        (aggregated(group(-1, "chair")), "objectId -1"),
        (aggregated(group(70000, "chair")), "objectId 70000"),
        (aggregated(group(1, None)), "no text as label"),
        (aggregated(group(1, "chair", ["a"])), "no numbers as segments"),
        (aggregated(group(1, "chair"), group(1, "table")), "'chair' and 'table'"),
    ],
)
def test_broken_aggregations(content: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        parse_aggregation(content, Path("/raw/a.aggregation.json"))
    assert "/raw/a.aggregation.json" in str(caught.value)


def test_votes_of_label_images(table: Path) -> None:
    labels = read_labels(table, SCANNET20)
    known = as_instances([SceneObject(1, "floor", ()), SceneObject(2, "vase", ())], labels, SCANNET20)
    votes = Votes()
    instance = np.array([[0, 1, 1, 1, 2]], np.uint16)
    votes.add(instance, np.array([[9, 3, 3, 2, 7]], np.uint16))
    assert votes.majority(1) == LABEL_IDS["floor"] and votes.majority(3) is None
    assert disagreements(known.items, labels, votes) == []  # the table doesn't know vases
    votes.add(instance, np.array([[0, 2, 2, 2, 7]], np.uint16))
    (text,) = disagreements(known.items, labels, votes)
    assert "'floor'" in text and "'chair'" in text


def test_votes_without_a_table() -> None:
    labels = labels_by_name(SCANNET20)
    known = as_instances([SceneObject(1, "chair", ()), SceneObject(2, "chair", ())], labels, SCANNET20)
    votes = Votes()
    votes.add(np.array([[1, 2]], np.uint16), np.array([[5, 5]], np.uint16))
    assert disagreements(known.items, labels, votes) == []
    votes.add(np.array([[2, 2]], np.uint16), np.array([[7, 7]], np.uint16))
    assert len(disagreements(known.items, labels, votes)) == 1


@pytest.mark.parametrize(
    ("count", "first", "length"),
    [(19, 0, 19), (20, 0, 20), (59, 0, 59), (118, 0, 118), (119, 29, 60), (120, 30, 60), (1650, 412, 825)],
)
def test_published_window(count: int, first: int, length: int) -> None:
    window = paper_window(count)
    assert (window.first, window.length) == (first, length)
    frames = window.frames()
    assert len(frames) == 81 and frames[0] == first and frames[-1] == first + length - 1
    assert (np.diff(frames) >= 0).all() and (np.diff(frames).min() > 0) == (length >= 81)


@pytest.mark.parametrize(("count", "pieces"), [(1, 1), (323, 1), (647, 1), (648, 2), (1650, 5)])
def test_windows_over_the_whole_scan(count: int, pieces: int) -> None:
    windows = all_windows(count, 324)
    assert len(windows) == pieces and windows[0].first == 0
    ends = [window.first + window.length for window in windows]
    assert ends == [*(window.first for window in windows[1:]), count]
    assert pieces == 1 or min(window.length for window in windows) >= 324


def test_matrices_from_text() -> None:
    matrix = parse_matrix(b"1 0 0 0\n0 1 0 -inf\n0 0 1 nan\n0 0 0 1\n\n", "x")
    assert np.isneginf(matrix[1, 3]) and np.isnan(matrix[2, 3])
    for content in (b"", b"1 2\n3 4\n", b"1 0 0\n0 1 0 0\n", "1 0 0 \N{MINUS SIGN}1".encode(), b"\xff\xd8"):
        with pytest.raises(DatasetError, match=r"not a matrix.*\n.*/raw/0.txt"):
            parse_matrix(content, "/raw/0.txt")


def test_camera_matrices() -> None:
    stored = np.diag([500.0, 500, 1, 1])
    stored[:2, 2] = 319.5, 239.5
    edges = camera_matrix(stored, "x", from_centres=False)
    assert camera_matrix(stored, "x", from_centres=True)[:2, 2].tolist() == [320, 240]
    half = scaled(edges, (480, 640), (240, 320))
    assert half.tolist() == [[250, 0, 159.75], [0, 250, 119.75], [0, 0, 1]]
    for bad in (np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(DatasetError, match="camera matrix"):
            camera_matrix(bad, "x", from_centres=False)


def test_registration_follows_the_rays() -> None:
    """A wider depth camera sees a plane whose depth tells the column; every ray must find its own."""
    depth = np.tile(np.arange(1, 101, dtype=np.float32), (80, 1))
    narrow = np.array([[50.0, 0, 50], [0, 50, 40], [0, 0, 1]])
    np.testing.assert_array_equal(register(depth, narrow, narrow, (80, 100)), depth)
    fine = register(depth, narrow, scaled(narrow, (80, 100), (160, 200)), (160, 200))
    np.testing.assert_array_equal(fine, np.repeat(np.repeat(depth, 2, 0), 2, 1))
    telephoto = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    near = register(depth, narrow, telephoto, (80, 100))
    assert near[0, 0] == 26 and near[0, -1] == 75  # columns 25 and 74
    wide = register(depth, narrow, np.array([[25.0, 0, 50], [0, 25, 40], [0, 0, 1]]), (80, 100))
    assert (wide[:, :25] == 0).all() and (wide[:, 75:] == 0).all() and (wide[30:50, 25:75] > 0).all()


def test_size_of_ground_truth() -> None:
    assert default_gt_size((968, 1296)) == (540, 720) and default_gt_size((1296, 968)) == (720, 540)
    assert default_gt_size((480, 640)) == (480, 640) and default_gt_size((64, 96)) == (64, 96)
