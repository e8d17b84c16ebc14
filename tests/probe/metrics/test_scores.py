"""Means over clips: what is left out, and how it is counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probe.metrics.score import ClipScore
from probe.metrics.scores import clip_values, mean_over_clips


def test_undefined_clips_are_left_out_and_counted() -> None:
    clips = [
        ClipScore({"abs_rel": 0.2, "auc_30": 0.5}),
        ClipScore({"abs_rel": math.nan, "auc_30": 0.7}, undefined={"abs_rel": "no pixel with depth"}),
        ClipScore({"auc_30": math.nan}),
    ]
    means = mean_over_clips(clips)
    assert means["abs_rel"].value == 0.2
    assert (means["abs_rel"].count, means["abs_rel"].undefined) == (1, 2)
    assert means["abs_rel"].reasons == {"no pixel with depth": 1, "not computed": 1}
    assert means["auc_30"].value == pytest.approx(0.6)
    assert means["auc_30"].reasons == {"not a number": 1}


def test_published_zeros_of_clips_without_objects_stay_out_of_the_mean() -> None:
    empty = ClipScore.without_value(("t_miou",), "no objects", {"n_objects": 0}, value=0.0)
    clips = [ClipScore({"t_miou": 0.4}, {"n_objects": 1}), empty, ClipScore({"t_miou": 0.0}, {"n_objects": 3})]
    assert mean_over_clips(clips)["t_miou"].value == 0.2
    np.testing.assert_array_equal(clip_values(clips, "t_miou"), [0.4, math.nan, 0.0])


def test_nothing_defined_and_nothing_at_all() -> None:
    assert math.isnan(mean_over_clips([ClipScore({"t_sr": math.nan})])["t_sr"].value)
    assert mean_over_clips([]) == {}


def test_scores_join_and_explain_every_nan() -> None:
    joined = ClipScore({"a": 1.0}, {"n": 2}) | ClipScore({"b": math.nan}, {"m": 3})
    assert joined.values["a"] == 1.0
    assert joined.counts == {"n": 2, "m": 3}
    assert joined.undefined == {"b": "not a number"}
