"""Families of comparisons, layers chosen on the select split, controls and curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.loader import known_names, load_named
from probe.config import NOT_IDENTITY
from probe.metrics.comparison import compare_with_zero, contrast_of_kinds, holm
from probe.metrics.statistics import estimate_mean
from probe.report.build import build
from probe.report.page.by_setting import Settings
from probe.report.page.compose import compose
from probe.report.page.document import Charts
from probe.report.page.labels import Sources
from probe.report.page.sections.curves import capacity_section
from probe.report.runs.settings import NOT_COMPARED
from tests.probe.report.rows import ORACLE, VGM, VLM, pairs, seeds, values


def test_holm_corrects_inside_a_family_only(make_study: Any) -> None:
    study = make_study(24, 12)
    sources = (VLM, VGM, "internvl3-1b-tiny-random", ORACLE)
    for i, source in enumerate(sources):
        seeds(study, "instance", source, {"t_miou": values(i, 24, 0.02 * i)}, tap="oracle" if i == 3 else "llm")
    data = build(str(study.root))
    for family, size in (("models", 3), ("ceiling", 3)):
        table = pairs(data, family)
        assert table.comparisons.tolist() == [size] * size
        expected = holm({str(i): p for i, p in enumerate(table.p)})
        assert table.p_corrected.tolist() == pytest.approx(list(expected.values()))
    tested = data.table("pairs").dropna(subset=["p"])
    assert (tested.p_corrected >= tested.p).all()
    assert set(tested.verdict) == {"exploratory"}


def test_layers_are_chosen_on_the_select_split(study: Any) -> None:
    study.per_clip("instance", VLM, {"t_miou": values(1, 6, 0.5)}, block=1, select=0.1)  # best on report
    study.per_clip("instance", VLM, {"t_miou": values(1, 6)}, block=2, select=0.9)
    data = build(str(study.root))
    entries = data.table("entries").set_index("block")
    assert entries.chosen.to_dict() == {1: False, 2: True}
    assert entries.candidates.tolist() == [2, 2]
    main = data.table("main")
    assert main.loc[main.origin == "ours", "t_miou"].tolist() == pytest.approx([values(1, 6).mean()])
    layers = data.table("layers")
    assert layers[layers.metric == "t_miou"].relative_depth.tolist() == pytest.approx([1 / 6, 2 / 6])


def test_smallest_error_is_chosen_where_lower_is_better(study: Any) -> None:
    for block, error in ((1, 0.5), (2, 0.2), (3, 0.4)):
        study.per_clip("geometry", VLM, {"abs_rel": values(1, 6)}, block=block, select=error)
    entries = build(str(study.root)).table("entries")
    assert entries.loc[entries.chosen, "block"].tolist() == [2]


def test_choosing_on_the_reported_clips_widens_intervals_and_tests(make_study: Any) -> None:
    study = make_study(24, 24)
    for block in range(1, 9):
        for source in (VLM, VGM):
            column = {"t_miou": values(10 * block + len(source), 24)}
            seeds(study, "instance", source, column, block=block, split_scheme="paper")
    data = build(str(study.root))
    main = data.table("main")
    main = main[main.origin == "ours"].set_index("source")
    scores = data.table("scores")
    for source in (VLM, VGM):
        chosen = scores[scores.chosen & (scores.metric == "t_miou") & (scores.source == source)].iloc[0]
        assert main["t_miou"][source] == pytest.approx(chosen.value)
        width = chosen.high - chosen.low
        assert main["t_miou.high"][source] - main["t_miou.low"][source] > 1.2 * width
    row = pairs(data, "models").iloc[0]
    assert row.test == "max-t over candidates"
    assert row.p > 0.2
    assert any("Split scheme paper" in s.text for s in data.said("warning"))


def test_controls_stand_beside_each_model(study: Any) -> None:
    study.per_clip("instance", VLM, {"t_miou": values(1, 6, 0.1)})
    study.per_clip("instance", VLM, {"t_miou": values(2, 6)}, tap="vision", array="vision.2x2")
    for i, source in enumerate(("position", "pixels", ORACLE)):
        study.per_clip("instance", source, {"t_miou": values(4 + i, 6)}, tap=source)
    data = build(str(study.root))
    table = data.table("controls")
    assert table.control.tolist() == ["vision tower", "pixels", "position", "oracle"]
    assert (table.value - table.control_value).tolist() == pytest.approx(table.difference.tolist())
    assert sorted(pairs(data, "floor").b_source) == ["pixels", "position"]
    assert pairs(data, "origin").b_label.tolist() == ["Qwen3-VL-2B (tiny, untrained): vision tower"]


def test_a_trained_model_meets_its_twin_and_a_fusion_its_parts(study: Any) -> None:
    prints = {name: {"adapter": {"family": name}} for name in ("qwen3-vl-2b", "wan-t2v-1.3b")}
    for i, (name, fingerprint) in enumerate(prints.items()):
        study.per_clip("instance", name, {"t_miou": values(i, 6)}, store=fingerprint)
    study.per_clip("instance", "qwen3-vl-2b-random", {"t_miou": values(5, 6)})
    joined = {"parents": [{"branch": name, "fingerprint": fingerprint} for name, fingerprint in prints.items()]}
    study.per_clip("instance", "qwen3-vl-2b+wan-t2v-1.3b", {"t_miou": values(6, 6)}, store=joined, tap="fused")
    data = build(str(study.root))
    assert pairs(data, "twins").b_source.tolist() == ["qwen3-vl-2b-random"]
    assert pairs(data, "origin").b_source.tolist() == ["qwen3-vl-2b-random"]  # beside the fusion
    assert sorted(pairs(data, "fusion").b_source) == ["qwen3-vl-2b", "wan-t2v-1.3b"]
    assert len(pairs(data, "models")) == 3


def test_partial_oracles_are_told_apart(study: Any) -> None:
    whole = {"adapter": {"family": "oracle", "groups": ["colour", "normal", "depth", "rays", "code", "classes"]}}
    parts = [{"adapter": {"family": "oracle", "groups": groups}} for groups in (["depth", "rays"], ["classes"])]
    for i, (name, store) in enumerate(
        zip(("oracle", "oracle-depth-rays", "oracle-classes"), (whole, *parts), strict=True)
    ):
        study.per_clip("instance", name, {"t_miou": values(i, 6)}, store=store, tap="oracle")
    joined = {"parents": [{"branch": "x", "fingerprint": fingerprint} for fingerprint in parts]}
    study.per_clip("instance", "oracle-depth-rays+oracle-classes", {"t_miou": values(9, 6)}, store=joined, tap="fused")
    data = build(str(study.root))
    sources = data.table("sources").set_index("source")
    assert sources.role.to_dict() == {
        "oracle": "oracle", "oracle-depth-rays": "partial oracle", "oracle-classes": "partial oracle",
        "oracle-depth-rays+oracle-classes": "control fusion",
    }  # fmt: skip
    assert sources.label["oracle-depth-rays"] == "Ground truth: depth, rays"
    assert sorted(pairs(data, "fusion").b_source) == ["oracle-classes", "oracle-depth-rays"]


def test_settings_keep_apart_what_is_not_comparable(study: Any) -> None:
    study.per_clip("instance", VLM, {"t_miou": values(1, 6)})
    study.per_clip("instance", VGM, {"t_miou": values(2, 6)}, plan="paper-8", tap="dit")
    data = build(str(study.root))
    assert len(data.table("settings")) == 2
    assert "paper-8" in data.table("settings").differs.iloc[1]
    assert len(data.table("pairs")) == 0
    assert set(NOT_IDENTITY) < set(NOT_COMPARED)


def test_capacity_curve_over_depths(study: Any) -> None:
    for depth in (0, 1, 4):
        study.per_clip("instance", VLM, {"t_miou": values(depth, 6)}, depth=depth)
    table = build(str(study.root)).table("curves")
    assert table[table.metric == "t_miou"].x.tolist() == [0.0, 1.0, 4.0]
    assert set(table.axis) == {"depth"} and table.curve.nunique() == 1 and table.setting.nunique() == 3
    data = build(str(study.root))
    section = capacity_section(data, Sources(data), Settings(data))
    (chart,) = section.blocks  # one line through three points, not three charts of one point
    assert isinstance(chart, Charts) and chart.numbers is not None
    assert [row.cells[2].sort for row in chart.numbers.rows if row.cells[1].sort == "t_miou"] == [0, 1, 4]


def test_noise_curve(study: Any) -> None:
    for noise in (0.2, 0.5):
        study.per_clip("instance", VGM, {"t_miou": values(1, 6)}, block=2, noise=noise, tap="dit")
    study.per_clip("instance", VGM, {"t_miou": values(1, 6)}, block=3, noise=0.2, tap="dit")
    table = build(str(study.root)).table("noise")
    assert table.noise_level.tolist() == [0.2, 0.5]
    assert set(table.block) == {2}


def test_codes_are_shown_against_what_they_were_measured_against(study: Any) -> None:
    """A seed of 0.2.0 has a uniform code only: it counts there, and nowhere else."""
    now = {"bits": 50.0, "rate_bits": 60.0, "uniform_bits": 100.0, "compression": 1.2, "uniform_compression": 2.0}
    old = {"bits": 100.0, "uniform_bits": 150.0, "compression": 1.5}
    study.per_clip("instance", VLM, {"t_miou": values(1, 6)}, seed=1, extra={"mdl": now})
    study.per_clip("instance", VLM, {"t_miou": values(2, 6)}, seed=2, extra={"mdl": old})
    table = build(str(study.root)).table("selectivity")
    assert table[["metric", "value", "n_seeds"]].to_numpy().tolist() == [
        ["mdl.compression", 1.2, 1], ["mdl.uniform_compression", 1.75, 2],
    ]  # fmt: skip


def test_selectivity_of_twins_on_shuffled_targets(study: Any) -> None:
    real = study.per_clip("instance", VLM, {"t_miou": values(1, 6)})
    study.per_clip("instance", VLM, {"t_miou": values(2, 6)}, control_of=real, extra={"selectivity": {"t_miou": 0.25}})
    data = build(str(study.root))
    assert data.table("selectivity")[["metric", "value"]].to_numpy().tolist() == [["t_miou", 0.25]]
    assert len(data.table("entries")) == 1  # a twin is no row of its own


def test_selectivity_of_control_tasks(study: Any) -> None:
    row = {"true": 0.7, "control": [0.4, 0.5], "value": 0.25, "low": 0.1, "high": 0.4, "clips": 6, "reason": ""}
    found = {"draws": 2, "unit": "object", "metrics": {"t_miou": row, "t_sr": {**row, "value": None}}}
    run = study.per_clip("instance", VLM, {"t_miou": values(1, 6)}, extra={"control_task": found})
    study.per_clip("instance", VLM, {"t_miou": values(2, 6)}, control_of=run, extra={"selectivity": {"t_miou": 0.5}})
    table = build(str(study.root)).table("selectivity")
    assert table[["metric", "against", "value"]].to_numpy().tolist() == [
        ["t_miou", "control task", 0.25],
        ["t_miou", "shuffled twin", 0.5],
    ]
    assert table.iloc[0][["low", "high"]].tolist() == [0.1, 0.4] and table.cell.nunique() == 2


def test_intervals_of_several_seeds_are_not_averaged(study: Any) -> None:
    for seed, value in enumerate((0.2, 0.4)):
        one = {"true": 0.7, "control": [0.5], "value": value, "low": 0.1, "high": 0.4, "clips": 6, "reason": ""}
        found = {"draws": 1, "unit": "object", "metrics": {"t_miou": one}}
        study.per_clip("instance", VLM, {"t_miou": values(1, 6)}, seed=seed, extra={"control_task": found})
    row: Any = build(str(study.root)).table("selectivity").iloc[0]
    assert row.value == pytest.approx(0.3) and row.n_seeds == 2 and row[["low", "high"]].isna().all()


def test_selectivity_that_is_not_available_says_why(study: Any) -> None:
    found: dict[str, Any] = {"draws": 3, "reason": "no training clip has instance maps", "fix": "probe rooms"}
    study.per_clip("instance", VLM, {"t_miou": values(1, 6)}, extra={"control_task": found})
    data = build(str(study.root))
    row: Any = data.table("selectivity").iloc[0]
    assert np.isnan(row.value) and row.reason == found["reason"] and row.against == "control task"
    assert found["reason"] in str(compose(data))


def test_kinds_are_compared_as_samples_of_trained_models(make_study: Any) -> None:
    study = make_study(32, 16)
    sources = ("qwen3-vl-2b", "internvl3-1b", "wan-t2v-1.3b", "cogvideox-t2v-2b", "wan-t2v-14b-tiny-random")
    for i, source in enumerate(sources):
        seeds(study, "instance", source, {"t_miou": values(i, 32, 0.1 * (i < 2) + 0.02 * (i % 2))})
    row = pairs(build(str(study.root)), "kinds").iloc[0]
    rooms = list(study.rooms.values())
    each = [estimate_mean(values(i, 32, 0.1 * (i < 2) + 0.02 * (i % 2)), rooms) for i in range(4)]
    expected = contrast_of_kinds(each[:2], each[2:])
    assert (row.a_label, row.b_label) == (
        "the average of 2 vision-language models", "the average of 2 video generation models",
    )  # fmt: skip
    assert row.difference == pytest.approx(expected.value)
    assert row.p == pytest.approx(compare_with_zero(expected).p_value)


def test_one_model_says_nothing_about_its_kind(make_study: Any) -> None:
    study = make_study(32, 16)
    for i, source in enumerate(("qwen3-vl-2b", "internvl3-1b", "wan-t2v-1.3b")):
        seeds(study, "instance", source, {"t_miou": values(i, 32)})
    data = build(str(study.root))
    assert pairs(data, "kinds").verdict.tolist() == ["no test"]
    assert any("one model of a kind" in s.text for s in data.said("limit"))


def test_kinds_are_not_tested_where_the_reported_clips_chose_the_layers(make_study: Any) -> None:
    study = make_study(24, 12)
    for i, source in enumerate(("qwen3-vl-2b", "internvl3-1b", "wan-t2v-1.3b", "cogvideox-t2v-2b")):
        for block in (1, 2):
            column = {"t_miou": values(10 * i + block, 24)}
            seeds(study, "instance", source, column, block=block, split_scheme="paper")
    data = build(str(study.root))
    assert pairs(data, "kinds").verdict.tolist() == ["no test"]
    assert any("layers were chosen on the reported clips" in s.text for s in data.said("limit"))


def test_the_primary_family_spans_the_tasks_and_twins_all_models(make_study: Any) -> None:
    study = make_study(32, 16)
    models = ("qwen3-vl-2b", "internvl3-1b", "wan-t2v-1.3b", "cogvideox-t2v-2b")
    for task, metric in (("instance", "t_miou"), ("geometry", "abs_rel")):
        for i, source in enumerate(models):
            seeds(study, task, source, {metric: values(i, 32, 0.1 * (i < 2))})
            seeds(study, task, f"{source}-random", {metric: values(10 + i, 32)})
    data = build(str(study.root))
    kinds, twins = pairs(data, "kinds"), pairs(data, "twins")
    assert sorted(kinds.task) == ["geometry", "instance"]
    assert kinds.comparisons.tolist() == [2, 2]
    expected = holm({str(i): p for i, p in enumerate(kinds.p)})
    assert kinds.p_corrected.tolist() == pytest.approx(list(expected.values()))
    assert twins.comparisons.tolist() == [8] * 8
    assert (twins.p_corrected >= twins.p).all()
    assert set(twins.verdict) == {"a better", "b better", "not distinguishable"}  # errors are higher in geometry


def test_fusions_meet_controls_of_the_same_width(make_study: Any) -> None:
    study = make_study(24, 12)
    names = ("qwen3-vl-2b", "internvl3-1b", "wan-t2v-1.3b")
    prints = {name: {"adapter": {"family": name}} for name in names}
    for i, (a, b) in enumerate((("qwen3-vl-2b", "wan-t2v-1.3b"), ("qwen3-vl-2b", "internvl3-1b"))):
        joined = {"parents": [{"branch": name, "fingerprint": prints[name]} for name in (a, b)]}
        seeds(study, "instance", f"{a}+{b}", {"t_miou": values(i, 24)}, store=joined, tap="fused")
    found = pairs(build(str(study.root)), "same width")
    assert found[["a_source", "b_source"]].to_numpy().tolist() == [
        ["qwen3-vl-2b+wan-t2v-1.3b", "qwen3-vl-2b+internvl3-1b"]
    ]


def test_many_models_are_tested_where_rooms_are_enough(make_study: Any) -> None:
    """Fifty-five pairs in fifteen rooms: p values have the resolution."""
    study = make_study(15, 15)
    study.resamples = 1
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.4, 15)
    models = [name for name in sorted(known_names("model")) if "hub_id" in load_named("model", name)]
    for i, name in enumerate(models[:11]):
        seeds(study, "instance", name, {"t_miou": base + 0.05 * i + rng.normal(0, 0.001, 15)})
    found = pairs(build(str(study.root)), "models")
    assert set(found.comparisons) == {55}
    assert (found.p_smallest * 55 < 0.05).all()
    assert (found.p_corrected < 0.05).all()
