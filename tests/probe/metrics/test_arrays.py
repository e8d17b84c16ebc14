"""What public metrics refuse: lists, tensors, wrong dtypes and wrong shapes, in every array that they take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from configs.errors import DatasetError
from probe.metrics.arrays import BoolArray, FloatArray, IntArray, NumberArray
from probe.tasks.geometry.metrics.clip import ClipGeometry
from tests.probe.public import METRICS
from tests.probe.public import functions as public

metrics = SimpleNamespace(**public(*METRICS))

RNG = np.random.default_rng(0)
S, H, W, N, C = 3, 4, 6, 7, 5
MAPS = (S, H, W)


def floats(*shape: int) -> NDArray[np.float64]:
    return RNG.random(shape) + 0.5


def mask(*shape: int) -> NDArray[np.bool_]:
    flags = RNG.random(shape) < 0.7
    flags.flat[:2] = True, False
    return flags


def ids(*shape: int) -> NDArray[np.int64]:
    return RNG.integers(0, 4, shape)


def poses() -> NDArray[np.float64]:
    found = np.tile(np.eye(4)[:3], (S, 1, 1))
    found[:, :, 3] = RNG.normal(size=(S, 3))
    return found


def geometry() -> ClipGeometry:
    return ClipGeometry(floats(*MAPS), floats(*MAPS, 3), poses())


ROOMS = np.array([0, 0, 1, 1, 2, 2, 3])
DISTANCES = metrics.point_distances(floats(*MAPS, 3), floats(*MAPS, 3), np.ones(MAPS, bool), np.ones(MAPS, bool))
MATCHES = metrics.match_objects(ids(*MAPS), ids(*MAPS))

CALLS: dict[str, dict[str, Any]] = {
    "align_similarity": {"source": floats(N, 3), "target": floats(N, 3)},
    "average_precision": {"labels": mask(N, C), "scores": floats(N, C)},
    "bucket_means": {"ap": floats(C), "buckets": np.arange(C) % 3},
    "cluster_cells": {"embeddings": floats(S, 2, 3, 4)},
    "confidence_mask": {"confidence": floats(*MAPS), "valid": mask(*MAPS)},
    "count_clusters": {"labels": ids(*MAPS)},
    "depth_bin_errors": {"distance": floats(*MAPS), "depth": floats(*MAPS), "mask": mask(*MAPS)},
    "depth_score": {"prediction": floats(*MAPS), "truth": floats(*MAPS), "mask": mask(*MAPS)},
    "error_percentiles": {"distance": floats(*MAPS), "mask": mask(*MAPS)},
    "estimate_mean": {"values": floats(N), "groups": ROOMS},
    "f1_scores": {"labels": mask(N, C), "probabilities": floats(N, C) - 0.5, "thresholds": floats(C) - 0.5},
    "frame_distance_errors": {"distance": floats(*MAPS), "mask": mask(*MAPS), "frame_indices": np.arange(S)},
    "frequency_buckets": {"train_positive_rate": floats(C) - 0.5},
    "geometry_score": {
        "prediction": geometry(),
        "truth": geometry(),
        "confidence": floats(*MAPS),
        "valid": mask(*MAPS),
        "frame_indices": np.arange(S),
    },
    "grid_ceiling": {"truth": ids(*MAPS), "grid": (2, 3), "valid": mask(*MAPS), "things": np.array([1, 2])},
    "instance_score": {"matches": MATCHES, "things": np.array([1, 2])},
    "majority_labels": {"truth": ids(*MAPS), "grid": (2, 3), "valid": mask(*MAPS)},
    "match_objects": {"prediction": ids(*MAPS), "truth": ids(*MAPS), "valid": mask(*MAPS)},
    "pair_errors": {"prediction": poses(), "truth": poses()},
    "paired_difference": {"first": floats(N), "second": floats(N), "groups": ROOMS},
    "point_distances": {
        "prediction": floats(*MAPS, 3),
        "truth": floats(*MAPS, 3),
        "mask": mask(*MAPS),
        "usable": np.ones(MAPS, bool),
    },
    "pointmap_score": {"distances": DISTANCES, "confidence": floats(*MAPS)},
    "pose_auc": {"errors": floats(N), "limit": 30},
    "pose_score": {"prediction": poses(), "truth": poses()},
    "score_embeddings": {
        "embeddings": floats(S, 2, 3, 4),
        "truth": ids(*MAPS),
        "valid": mask(*MAPS),
        "things": np.array([1, 2]),
    },
    "tagging_score": {
        "labels": mask(N, C),
        "scores": floats(N, C),
        "train_positive_rate": floats(C) - 0.5,
        "thresholds": floats(C) - 0.5,
    },
    "upsample_labels": {"labels": ids(S, 2, 3), "size": (H, W)},
}
"""A valid call of each public metric that takes arrays, every array given."""
WITHOUT_ARRAYS = {"clip_values", "holm", "smallest_p", "mean_over_clips"}
ANY_RANK = {"count_clusters"}
SEEDS_TOO = {"estimate_mean", "paired_difference"}
"""Take one value per clip, or per seed and clip."""
PRODUCED = {
    "DatasetMean",
    "F1Scores",
    "Interval",
    "ObjectMatches",
    "PairErrors",
    "Difference",
    "Estimate",
    "LeftOut",
    "PooledScores",
    "PointDistances",
}
PRODUCED |= {"ClipScore", "TaggingScore"}
"""Dataclasses that metrics return: nobody else fills them. `ClipGeometry` is filled by the caller."""

KINDS = {"b": BoolArray, "i": IntArray, "f": FloatArray, "number": NumberArray}
WRONG: dict[str, tuple[str, ...]] = {
    "b": ("uint8", "int64", "float64", "object"),
    "i": ("bool", "float64", "complex128", "object"),
    "f": ("bool", "uint8", "int64", "complex128", "object"),
    "number": ("complex128", "object", "str"),
}
RIGHT: dict[str, tuple[str, ...]] = {
    "b": ("bool",),
    "i": ("uint8", "int16", "int32", "uint16", "int64"),
    "f": ("float16", "float32", "float64", ">f4"),
    "number": ("bool", "uint8", "int64", "float32", "float64"),
}


INNER = {
    "compare_with_zero",
    "contrast",
    "contrast_of_kinds",
    "estimate_pooled",
    "interval_of",
    "interval_of_choice",
    "max_t",
    "max_t_draws",
    "paired_estimate",
    "require_seeds",
    "room_index",
    "resampled_means",
    "room_means",
    "studentised",
    "with_others",
    "check_variant",
    "clip_value",
    "collapsed_iou",
    "compact",
    "difference_of_choices",
    "direction_angles",
    "flat",
    "number",
    "overlap_counts",
    "paper_direction_angles",
    "paper_rotation_angles",
    "probabilities_of",
    "ranking_scores",
    "relative_poses",
    "require_array",
    "require_no_infinity",
    "rotation_angles",
    "usable_pixels",
}
"""Parts of metrics: they get arrays that the metric has checked, or estimates."""


def functions() -> dict[str, Callable[..., Any]]:
    return {name: thing for name, thing in vars(metrics).items() if name not in INNER}


def kind_of(annotation: Any) -> str:
    """Kind of the arrays that an annotation allows, '' if none; names, which also come in lists, count as none."""
    members = typing.get_args(annotation) if typing.get_origin(annotation) is not np.ndarray else ()
    for kind, alias in KINDS.items():
        if annotation == alias or alias in members:
            return kind
    return ""


def arrays_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield (parameter or parameter.field, kind) of the arrays that a metric takes."""
    for parameter, annotation in typing.get_type_hints(functions()[name]).items():
        if parameter == "return":
            continue
        if kind := kind_of(annotation):
            yield parameter, kind
        elif isinstance(annotation, type) and is_dataclass(annotation) and annotation.__name__ not in PRODUCED:
            hints = typing.get_type_hints(annotation)
            yield from ((f"{parameter}.{field.name}", kind_of(hints[field.name])) for field in fields(annotation))


def given(name: str, where: str) -> Any:
    parameter, _, field = where.partition(".")
    value = CALLS[name][parameter]
    return getattr(value, field) if field else value


def call(name: str, where: str, value: Any, **more: Any) -> Any:
    """Call a metric with another value in one place."""
    arguments = dict(CALLS[name])
    parameter, _, field = where.partition(".")
    arguments[parameter] = replace(arguments[parameter], **{field: value}) if field else value
    return functions()[name](**arguments, **more)


def variants(name: str) -> tuple[dict[str, str], ...]:
    if "variant" not in inspect.signature(functions()[name]).parameters:
        return ({},)
    return ({"variant": "standard"}, {"variant": "paper"})


PLACES = [(name, where, kind) for name in sorted(CALLS) for where, kind in arrays_of(name)]


def test_every_public_metric_and_every_array_has_a_case() -> None:
    assert set(functions()) == set(CALLS) | WITHOUT_ARRAYS
    for name in functions():
        hints = {key: hint for key, hint in typing.get_type_hints(functions()[name]).items() if key != "return"}
        takes = {
            key for key, hint in hints.items() if "ndarray" in str(hint) and typing.get_origin(hint) is not Callable
        }
        known = {where.partition(".")[0] for where, _ in arrays_of(name)}
        # an array without one of the aliases of probe.metrics.arrays would escape the tests below
        assert takes - {"groups"} <= known <= set(CALLS.get(name, ())), name
    assert all(kind for _, _, kind in PLACES)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_the_cases_are_valid(name: str) -> None:
    for variant in variants(name):
        functions()[name](**CALLS[name], **variant)


@pytest.mark.parametrize(("name", "where", "kind"), PLACES)
def test_widths_of_the_right_kind_pass(name: str, where: str, kind: str) -> None:
    for dtype in RIGHT[kind]:
        call(name, where, given(name, where).astype(dtype))


@pytest.mark.parametrize(("name", "where", "kind"), PLACES)
def test_wrong_dtypes_are_refused(name: str, where: str, kind: str) -> None:
    right = given(name, where)
    for variant in variants(name):
        for dtype in WRONG[kind]:
            with pytest.raises(DatasetError, match="Wrong dtype") as caught:
                call(name, where, right.astype(dtype), **variant)
            text = str(caught.value)
            assert str(np.dtype(dtype) if dtype != "str" else right.astype("str").dtype) in str(caught.value.found)
            assert "expected:" in text
            assert "fix:      pass values.astype(" in text


@pytest.mark.parametrize(("name", "where", "kind"), PLACES)
def test_lists_and_tensors_are_refused(name: str, where: str, kind: str) -> None:
    right = given(name, where)
    for variant in variants(name):
        for wrong, found in ((right.tolist(), "list"), (torch.as_tensor(right), "torch.Tensor")):
            with pytest.raises(DatasetError, match=r"must be given as a NumPy array(.|\n)*fix: *pass") as caught:
                call(name, where, wrong, **variant)
            assert caught.value.found == found


@pytest.mark.parametrize(("name", "where", "kind"), [place for place in PLACES if place[0] not in ANY_RANK | SEEDS_TOO])
def test_wrong_shapes_are_refused(name: str, where: str, kind: str) -> None:
    right = given(name, where)
    wrong = [right[..., None], right[None]]
    if right.ndim > 1:
        wrong.append(right[0])
    if any(given(name, other).shape[:1] == right.shape[:1] for other, _ in arrays_of(name) if other != where):
        wrong.append(right[:-1])
    for variant in variants(name):
        for value in wrong:
            with pytest.raises(DatasetError, match="Wrong shape") as caught:
                call(name, where, value, **variant)
            assert caught.value.expected
            assert caught.value.found
            assert caught.value.fix


@pytest.mark.parametrize("name", sorted(name for name, call in CALLS.items() if "groups" in call))
def test_rooms_are_names_in_any_sequence_one_per_clip(name: str) -> None:
    names = [f"room {room}" for room in ROOMS]
    expected = functions()[name](**CALLS[name])
    for groups in (ROOMS.tolist(), names, tuple(names), np.array(names)):
        assert repr(call(name, "groups", groups)) == repr(expected)
    for wrong in (ROOMS[:, None], "a" * N):
        with pytest.raises(DatasetError, match="rooms of the clips"):
            call(name, "groups", wrong)


@pytest.mark.parametrize("name", ["estimate_mean", "paired_difference"])
def test_rooms_of_the_clips_with_a_value_alone_are_refused(name: str) -> None:
    values = np.array([1.0, np.nan, 3.0, 4.0])
    arguments = {"values": values} if name == "estimate_mean" else {"first": values, "second": values}
    with pytest.raises(DatasetError, match="rooms of the clips"):
        functions()[name](**arguments, groups=["a", "b", "c"])


@pytest.mark.parametrize("name", sorted(SEEDS_TOO))
def test_seeds_are_an_axis_of_their_own(name: str) -> None:
    where = next(iter(arrays_of(name)))[0]
    for wrong in (floats(2, 3, N), floats(2, N - 1), floats(N, 1)):
        with pytest.raises(DatasetError):
            call(name, where, wrong)


def test_similarities_take_points_only() -> None:
    similarity = metrics.align_similarity(floats(N, 3), floats(N, 3))
    assert not isinstance(similarity, str)
    assert similarity(floats(3)).shape == (3,)
    assert similarity(floats(2, 4, 3)).shape == (2, 4, 3)
    for wrong in (floats(N, 3).tolist(), ids(N, 3), floats(N, 4)):
        with pytest.raises(DatasetError, match="points"):
            similarity(wrong)


def test_messages_say_what_to_pass_instead() -> None:
    matrices = np.tile(np.eye(4), (5, 1, 1))
    for metric in (metrics.pose_score, metrics.pair_errors):
        with pytest.raises(DatasetError) as caught:
            metric(matrices, matrices)
        assert str(caught.value).splitlines() == [
            "Wrong shape of the predicted poses",
            "  where:    predicted poses",
            "  expected: (any, 3, 4) float",
            "  found:    (5, 4, 4) float64",
            "  fix:      pass [R | t] of the same queries; poses[:, :3] takes it from (S, 4, 4) matrices",
        ]
    with pytest.raises(
        DatasetError, match=r"expected: \(3, 4, 6\) integer\n.*found: .*\(3, 2, 3\) int64\n.*upsample_labels"
    ):
        metrics.match_objects(ids(S, 2, 3), ids(*MAPS))
    with pytest.raises(DatasetError, match=r"\(4, 6\) int64\n.*maps\[None\]"):
        metrics.match_objects(ids(H, W), ids(H, W))
    with pytest.raises(DatasetError, match=r"\(any, any\) bool\n.*\(7, 5\) int64\n.*astype\(bool\)"):
        metrics.f1_scores(ids(N, C), floats(N, C))
    with pytest.raises(
        DatasetError, match=r"\(any, any\) bool\n.*\(7\) bool\n.*one row per clip and one column per class"
    ):
        metrics.f1_scores(mask(N), floats(N))
    with pytest.raises(DatasetError, match=r"\(5\) float\n.*\(4\) float64\n.*one per class"):
        metrics.f1_scores(mask(N, C), floats(N, C), floats(4))
