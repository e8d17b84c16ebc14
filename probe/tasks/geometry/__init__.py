"""3D geometry: depth, point maps in the first camera's frame, and cameras."""

from __future__ import annotations

from probe.task import Bins, Metric, Task, profile_section
from probe.tasks.geometry.config import GeometryOptions

LENGTH = "mean distance of the reference query"
_QUARTERS = ("nearest quarter", "second quarter", "third quarter", "farthest quarter")
BY_DEPTH = Bins(
    "depth_error",
    "Point error by depth",
    "Mean point distance in ten bins of equal size by true depth, near to far, in each clip.",
    prefix="depth_bin",
    labels={f"depth_bin_{i:02d}_err": f"{i * 10} to {i * 10 + 10} % of depths" for i in range(10)},
    quantity="mean point distance",
    by="depth",
    axis="tenth of the pixels by true depth, near to far",
    metric="pmap_err",
)
BY_TIME = Bins(
    "frame_error",
    "Point error by distance in time",
    "Mean point distance of queries in four bins by frame distance from the reference query.",
    prefix="frame_dist",
    labels={f"frame_dist_b{i}_err": label for i, label in enumerate(_QUARTERS)},
    quantity="mean point distance",
    by="frame distance",
    axis="distance in time from the reference query, in quarters of the farthest",
    metric="pmap_err",
)

_DPT = r"((?:depth|point)_head)"
PUBLISHED_NAMES = {
    _DPT + r"\.(norm\..+|projects\..+)": r"\1.\2",
    _DPT + r"\.resize_layers\.(.+)": r"\1.resizes.\2",
    _DPT + r"\.scratch\.layer([1-4])_rn\.(.+)": r"\1.laterals.<\2>.\3",
    _DPT + r"\.scratch\.refinenet([1-4])\.out_conv\.(.+)": r"\1.fusions.<\2>.out_conv.\3",
    _DPT + r"\.scratch\.refinenet([1-4])\.resConfUnit1\.(.+)": r"\1.fusions.<\2>.lateral.\3",
    _DPT + r"\.scratch\.refinenet([1-4])\.resConfUnit2\.(.+)": r"\1.fusions.<\2>.refine.\3",
    _DPT + r"\.scratch\.output_conv1\.(.+)": r"\1.output_conv1.\2",
    _DPT + r"\.scratch\.output_conv2\.0\.(.+)": r"\1.output_conv2.\2",
    _DPT + r"\.scratch\.output_conv2\.2\.(.+)": r"\1.output_conv3.\2",
    r"camera_head\.empty_pose_tokens": r"camera_head.empty_pose",
    r"camera_head\.(embed_pose|token_norm)\.(.+)": r"camera_head.\1.\2",
    r"camera_head\.trunk_norm\.(.+)": r"camera_head.norm.\1",
    r"camera_head\.trunk\.(.+)": r"camera_head.blocks.\1",
    r"camera_head\.poseLN_modulation\.1\.(.+)": r"camera_head.modulation.\1",
    r"camera_head\.pose_branch\.(.+)": r"camera_head.branch.\1",
}

TASK = Task(
    "geometry",
    GeometryOptions,
    profile_section("geometry"),
    label_column="has_depth",
    headline="abs_rel",
    metrics={
        "pmap_err": Metric("P-map error", "lower", LENGTH, high=None, header="P-map Err."),
        "pmap_err_p50": Metric("P-map error, median", "lower", LENGTH, high=None),
        "pmap_err_p90": Metric("P-map error, 90 %", "lower", LENGTH, high=None),
        "pmap_err_p99": Metric("P-map error, 99 %", "lower", LENGTH, high=None),
        "pmap_err_p99_over_p50": Metric("P-map error, 99 % / median", "lower", "ratio", high=None),
        "abs_rel": Metric("AbsRel", "lower", "ratio", high=None, header="AbsRel"),
        "sq_rel": Metric("SqRel", "lower", LENGTH, high=None),
        "rmse": Metric("RMSE", "lower", LENGTH, high=None),
        "rmse_log": Metric("RMSE log", "lower", "natural log", high=None),
        "log10": Metric("log10", "lower", "decimal log", high=None),
        "delta_1": Metric("delta < 1.25", "higher"),
        "delta_2": Metric("delta < 1.25^2", "higher"),
        "delta_3": Metric("delta < 1.25^3", "higher"),
        "auc_30": Metric("AUC@30", "higher", header="AUC@30"),
        "auc_10": Metric("AUC@10", "higher"),
        "auc_5": Metric("AUC@5", "higher"),
        "auc_3": Metric("AUC@3", "higher"),
        "rac_5": Metric("rotation < 5 deg", "higher"),
        "rac_15": Metric("rotation < 15 deg", "higher"),
        "tac_5": Metric("translation < 5 deg", "higher"),
        "tac_15": Metric("translation < 15 deg", "higher"),
    },
    title="3D geometry",
    order=2,
    paper_queries=4,
    published_names=PUBLISHED_NAMES,
    bins=(BY_DEPTH, BY_TIME),
    scatter=(("map", "auc_30"), ("map", "abs_rel"), ("t_miou", "auc_30")),
)
