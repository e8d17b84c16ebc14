"""The main table beside the published figures, profile, scatter, costs and commands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.identity import digest
from configs.loader import parse_overrides
from configs.options import as_typed
from fusion.recipe import Choices, make_recipe
from fusion.record import ViewRecord, save_record
from probe.config import read_run
from probe.report.build import build
from probe.report.columns import COLUMNS
from probe.report.page.by_setting import Settings
from probe.report.page.document import Table
from probe.report.page.labels import Sources
from probe.report.page.sections.main_table import main_section
from probe.report.published import published_rows
from probe.report.runs.collect import collect
from probe.report.runs.commands import train_command

HUB = {"adapter": {"family": "qwen3_vl", "weights": {"hub_id": "Qwen/Qwen3-VL-2B-Instruct", "revision": "abc"}}}
FLAT = [0.2, 0.3] * 3


def rows(data: Any, origin: str) -> pd.DataFrame:
    table: pd.DataFrame = data.table("main")
    return table[table.origin == origin]


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
    ours = rows(data, "ours").iloc[0]
    assert ours.untrained and "untrained" in ours.label and ours.role == "untrained twin"
    assert rows(data, "published").t_miou.tolist() == [0.255]
    assert rows(data, "difference").empty
    assert "random weights" in data.said("warning")[0].text


def test_weights_of_unknown_origin_are_not_compared_either(study: Any) -> None:
    for weights in ({"content": "f" * 8}, {"hub_id": "someone/else", "revision": "x"}):
        study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store={"adapter": {"weights": weights}})
    data = build(str(study.root))
    assert rows(data, "difference").empty
    labels = rows(data, "ours").label.tolist()
    assert any("local weights" in label for label in labels) and any("someone/else" in label for label in labels)


def test_published_weights_are_compared_and_the_note_says_what_differs(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT, "t_sr": FLAT}, store=HUB, block=3)
    row = rows(build(str(study.root)), "difference").iloc[0]
    assert row.t_miou == pytest.approx(0.25 - 0.255)
    assert row.t_sr == pytest.approx(0.25 - 0.1356)
    assert np.isnan(row["map"])
    for word in ("ScanNet", "profile smoke", "paper-2", "layer"):
        assert word in row.note


def test_averages_are_over_models_trained_and_untrained_apart(study: Any) -> None:
    for i, source in enumerate(("wan-t2v-1.3b-tiny-random", "cogvideox-t2v-2b-tiny-random")):
        column = np.array(FLAT) + 0.1 * i
        study.per_clip("geometry", source, {"abs_rel": column, "auc_30": column, "pmap_err": column}, tap="dit")
    data = build(str(study.root))
    average = rows(data, "average").iloc[0]
    assert average.abs_rel == pytest.approx(0.3) and average.n_models == 2 and average.untrained
    assert average["abs_rel.low"] == pytest.approx(0.3) == average["abs_rel.high"]  # all rooms have this mean
    printed = rows(data, "published average").iloc[0]
    assert printed.n_models == 8
    assert printed.abs_rel == pytest.approx((0.065 + 0.044 + 0.047 + 0.089 + 0.09 + 0.091 + 0.066 + 0.084) / 8)


def test_profile_runs_from_position_to_oracle(study: Any) -> None:
    levels = {"position": 0.8, "oracle": 0.2, "qwen3-vl-2b-tiny-random": 0.5}
    for source, level in levels.items():
        column = np.full(6, level) + np.array([0, 0, 0, 0.01, -0.01, 0])
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
    found = rows(data, "difference")
    assert sorted(found.t_miou) == pytest.approx([0.2 - 0.255, 0.4 - 0.255])
    assert found["t_miou.cell"].nunique() == found.store.nunique() == 2
    assert rows(data, "average").label.tolist() == ["Average of 2 stores of 1 model"]
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
    labels = rows(build(str(study.root)), "ours").label.tolist()
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


def test_costs_come_from_the_stores_own_files(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    log = study.root / "logs" / "extract" / "20260101-000000-qwen3-vl-2b-77"
    log.mkdir(parents=True)
    times = {f"{part}_seconds": [0.25, 0.5, 0.75] for part in ("read", "preprocess", "device", "write")}
    pd.DataFrame({"status": ["done"] * 3, **times}).to_parquet(log / "extract_log.parquet")
    (log.parent / "20260102-000000-not-qwen3-vl-2b-78").mkdir()
    row = build(str(study.root)).table("costs").iloc[0]
    assert row.bytes_per_clip == 20 * 2 * 2 * 4 * 2
    assert row.extract_seconds == 2.0
    assert row.probe_seconds == 3.0  # 6 s of a pass of two
    assert (row.model_parameters, row.model_parameters_from) == (2e9, "name")
    assert row.store_bytes > 0


def test_parameters_of_untrained_twins_come_from_the_extraction(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b-tiny-random", {"t_miou": FLAT})
    log = study.root / "logs" / "extract" / "20260101-000000-qwen3-vl-2b-tiny-random-77"
    log.mkdir(parents=True)
    times = {f"{part}_seconds": [0.25] for part in ("read", "preprocess", "device", "write")}
    pd.DataFrame({"status": ["done"], "parameters": [12345], **times}).to_parquet(log / "extract_log.parquet")
    row = build(str(study.root)).table("costs").iloc[0]
    assert (row.model_parameters, row.model_parameters_from) == (12345, "log")


def test_a_store_that_is_gone_leaves_nulls(study: Any) -> None:
    import shutil

    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": FLAT}, store=HUB)
    shutil.rmtree(study.root / "features")
    data = build(str(study.root))
    assert data.table("costs").bytes_per_clip.isna().all()
    assert rows(data, "difference").empty  # whose weights it were can't be checked any more


def test_the_command_of_a_run_resolves_to_its_configuration(study: Any) -> None:
    def config(task: str, **changes: Any) -> dict[str, Any]:
        from configs.identity import plain

        words = {"task": task, "profile": "smoke", **changes}
        found: dict[str, Any] = plain(as_typed(read_run({k: str(v) for k, v in words.items()})))
        return found

    changed = config(
        "instance", **{"recipe.lr": 0.5, "trunk.dropout": 0.25, "split_scheme": "standard", "sampler": "paper"}
    )
    changed["recipe"]["seed"] = 7
    study.per_clip("instance", "pixels", {"t_miou": FLAT}, seed=7, depth=3, extra={"config": changed})
    run = collect(str(study.root)).runs[0]
    words = parse_overrides(train_command(run).split()[3:])
    assert words["seeds"] == "7" and words["depths"] == "3" and words["layers"] == run.array
    assert {key: words[key] for key in words if "." in key} == {"recipe.lr": "0.5", "trunk.dropout": "0.25"}
    assert read_run(words).probe.recipe.lr == 0.5


def test_the_command_of_features_names_their_noise_level_in_full_and_their_grid(study: Any) -> None:
    level = 0.5023265744284328
    study.per_clip("instance", "wan-t2v-1.3b-tiny-random", {"t_miou": FLAT}, tap="dit", block=4, noise=level)
    command = build(str(study.root)).table("runs").extract_command[0]
    model = "spatialprobe extract run model=wan-t2v-1.3b dataset=toy weights=random size=tiny"
    assert command == f"{model} layers=4 noise={level!r} grid=2x2"


def test_the_command_of_a_fusion_has_the_options_of_its_record(study: Any) -> None:
    fingerprint: dict[str, Any] = {"parents": [], "fusion": {}}
    study.per_clip("instance", "oracle+position", {"t_miou": FLAT}, store=fingerprint, tap="fused")
    command = build(str(study.root)).table("runs").extract_command[0]
    assert command == "spatialprobe fusion fuse model=oracle+position dataset=toy"
    print_ = digest(fingerprint)
    choices = Choices(grid="4x4", layers=["5", "all"])
    record = ViewRecord("oracle+position", "toy", ("", ""), make_recipe("lnconcat"), choices, (), fingerprint, print_)
    save_record(str(study.root), record)
    assert build(str(study.root)).table("runs").extract_command[0] == f"{command} layers=5,all grid=4x4"


def test_imported_probes_are_kept_apart_and_name_their_checkpoint(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": FLAT})
    study.per_clip("instance", "position", {"t_miou": FLAT}, extra={"imported": {"file": "probe.ckpt", "sha256": "f"}})
    data = build(str(study.root))
    assert len(data.table("settings")) == 2 and "imported" in data.table("settings").differs.iloc[1]
    command = data.table("runs").set_index("source").command["position"]
    assert command.startswith("spatialprobe probe import ") and command.endswith("checkpoint=probe.ckpt")
