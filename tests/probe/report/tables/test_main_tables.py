"""The main table beside the published figures, profile, scatter and bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fusion.recipe import make_recipe
from probe.report.build import build
from probe.report.columns import COLUMNS
from probe.report.page.by_setting import Settings
from probe.report.page.document import Table
from probe.report.page.labels import Sources
from probe.report.page.sections.main_table import main_section
from probe.report.published import published_rows
from tests.probe.report.rows import FLAT, HUB, main_rows


def test_published_averages_are_those_of_the_paper() -> None:
    table = pd.DataFrame(published_rows())
    assert len(table) == 18
    means = table.groupby("kind")[[c.metric for c in COLUMNS]].mean()
    assert round(means.mid_ratio["vgm"], 3) == 0.838  # the mean of ratios, as printed
    np.testing.assert_allclose(table["ap_mid"] / table["map"], table["mid_ratio"], atol=6e-4)
    assert table["map"].between(0, 1).all()


def test_random_weights_are_marked_and_never_compared_with_the_published_figures(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b-tiny-random", {"t_miou": FLAT, "t_sr": FLAT})
    data = build(str(study.root))
    ours = main_rows(data, "ours").iloc[0]
    assert ours.untrained and "untrained" in ours.label and ours.role == "untrained twin"
    assert main_rows(data, "published").t_miou.tolist() == [0.255]
    assert main_rows(data, "difference").empty
    assert "random weights" in data.said("warning")[0].text


def test_weights_of_unknown_origin_are_not_compared_either(study: Any) -> None:
    replaced = {
        "hub_id": "Qwen/Qwen3-VL-2B-Instruct",
        "revision": "abc",
        "content": "f" * 8,
    }  # files of the snapshot that no hash vouches for
    for weights in ({"content": "f" * 8}, {"hub_id": "someone/else", "revision": "x"}, replaced):
        study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store={"adapter": {"weights": weights}})
    data = build(str(study.root))
    assert main_rows(data, "difference").empty
    labels = main_rows(data, "ours").label.tolist()
    assert sum("local weights" in label for label in labels) == 2 and any("someone/else" in label for label in labels)


def test_published_weights_are_compared_and_the_note_says_what_differs(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT, "t_sr": FLAT}, store=HUB, block=3)
    row = main_rows(build(str(study.root)), "difference").iloc[0]
    assert row.t_miou == pytest.approx(0.25 - 0.255)
    assert row.t_sr == pytest.approx(0.25 - 0.1356)
    assert np.isnan(row["map"])
    for word in ("ScanNet", "profile smoke", "paper-2", "layer"):
        assert word in row.note


def test_averages_are_over_models_trained_and_untrained_apart(make_study: Any) -> None:
    study = make_study(24, 12)
    spread = np.linspace(-0.1, 0.1, 24)
    for i, source in enumerate(("wan-t2v-1.3b-tiny-random", "cogvideox-t2v-2b-tiny-random")):
        column = 0.25 + 0.1 * i + spread * (1 - 2 * i)  # rooms cancel
        study.per_clip("geometry", source, {"abs_rel": column, "auc_30": column, "pmap_err": column}, tap="dit")
    data = build(str(study.root))
    average = main_rows(data, "average").iloc[0]
    assert average.abs_rel == pytest.approx(0.3) and average.n_models == 2 and average.untrained
    assert np.isnan(average["abs_rel.low"])  # the same in every room
    ours = main_rows(data, "ours")
    assert (ours["abs_rel.low"] < ours.abs_rel).all()
    printed = main_rows(data, "published average").iloc[0]
    assert printed.n_models == 8
    assert printed.abs_rel == pytest.approx((0.065 + 0.044 + 0.047 + 0.089 + 0.09 + 0.091 + 0.066 + 0.084) / 8)


def test_profile_runs_from_position_to_oracle(make_study: Any) -> None:
    study = make_study(12, 12)
    levels = {"position": 0.8, "oracle": 0.2, "qwen3-vl-2b-tiny-random": 0.5}
    for source, level in levels.items():
        column = np.full(12, level) + 0.01 * np.array([0, 0, 0, 1, -1, 0] * 2)
        study.per_clip("geometry", source, {"abs_rel": column, "auc_30": column}, tap=source)
    table = build(str(study.root)).table("radar").set_index("metric")
    row = table.loc["abs_rel"]  # smaller is better: 0.8 is the floor, 0.2 the ceiling
    assert (row.floor, row.ceiling, row.normalised) == pytest.approx((0.8, 0.2, 0.5))
    assert row.low <= 0.5 <= row.high
    assert np.isnan(table.normalised["auc_30"]) and "not better" in table.reason["auc_30"]


def test_two_stores_of_one_model_keep_their_own_differences(study: Any) -> None:
    """Extracted with two prompts, say: the page must not print one row's difference in the other."""
    for prompt, level in (("", 0.2), ("a room", 0.4)):
        store = {"adapter": {**HUB["adapter"], "prompt": prompt}}
        study.per_clip("instance", "qwen3-vl-2b", {"t_miou": [level] * 6}, store=store, block=3)
    data = build(str(study.root))
    found = main_rows(data, "difference")
    assert sorted(found.t_miou) == pytest.approx([0.2 - 0.255, 0.4 - 0.255])
    assert found["t_miou.cell"].nunique() == found.store.nunique() == 2
    assert main_rows(data, "average").label.tolist() == ["Average of 2 stores of 1 model"]
    table = main_section(data, Sources(data), Settings(data)).blocks[0]
    assert isinstance(table, Table)
    column = [title.title.split()[0] for title in table.columns].index("T-mIoU")
    for row in table.rows:
        value, change = row.cells[column].text, row.cells[column].detail[-1]
        assert change == {"20.00": "\N{GREEK CAPITAL LETTER DELTA} \N{MINUS SIGN}5.50"}.get(
            value, "\N{GREEK CAPITAL LETTER DELTA} +14.50"
        )
        assert any("unlike the paper: dataset toy instead of ScanNet" in line for line in row.cells[0].detail)


def test_a_fusion_by_another_recipe_than_its_name_says_is_named_by_it(study: Any) -> None:
    for changes in ({}, {"normalise": "none"}):
        recipe = make_recipe("lnconcat", 0, changes).identity()
        study.per_clip("instance", "qwen3-vl-2b+wan-t2v-1.3b", {"t_miou": FLAT}, store={"fusion": recipe}, tap="fused")
    labels = main_rows(build(str(study.root)), "ours").label.tolist()
    plain = "Qwen3-VL-2B + Wan2.1 T2V 1.3B"
    assert sorted(labels) == [plain, f"{plain} [normalise none]"]


def test_averages_say_what_they_are_of(study: Any) -> None:
    for i, source in enumerate(("qwen3-vl-2b", "internvl3-1b", "qwen3-vl-2b+internvl3-1b", "position")):
        study.per_clip("instance", source, {"t_miou": [0.1 * i] * 6}, store={"adapter": {"family": source}})
    table = build(str(study.root)).table("pairs")
    label = table.loc[table.family == "floor, average", "a_label"].tolist()
    assert label == ["the average of 2 models and 1 fusion"]


def test_profile_without_ends_says_so(study: Any) -> None:
    study.per_clip("geometry", "qwen3-vl-2b-tiny-random", {"abs_rel": FLAT})
    assert "position and oracle" in build(str(study.root)).table("radar").reason[0]


def test_scatter_joins_the_tasks_of_a_board(study: Any) -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0]] * 3)
    study.tagging("pixels", labels * 1.0, labels)
    study.per_clip("geometry", "pixels", {"abs_rel": FLAT, "auc_30": FLAT})
    study.per_clip("geometry", "position", {"abs_rel": FLAT})  # no tagging: no point
    table = build(str(study.root)).table("scatter")
    ours = table[table.origin == "ours"]
    assert ours[["source", "map", "abs_rel"]].to_numpy().tolist() == [["pixels", 1.0, 0.25]]
    assert (table.origin == "published").sum() == 18


def test_bins_of_depth_and_time(study: Any) -> None:
    columns = {f"depth_bin_{i:02d}_err": np.full(6, 0.1 * i) for i in range(10)}
    columns |= {f"frame_dist_b{i}_err": np.full(6, 0.2 * i) for i in range(4)}
    study.per_clip("geometry", "pixels", {"abs_rel": FLAT, **columns})
    data = build(str(study.root))
    assert data.table("depth_error").value.tolist() == pytest.approx([0.1 * i for i in range(10)])
    assert data.table("frame_error").value.tolist() == pytest.approx([0.2 * i for i in range(4)])
