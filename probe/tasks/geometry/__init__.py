"""3D geometry: depth, point maps in the first camera's frame, and cameras."""

from __future__ import annotations

from probe.task import Metric, Task, profile_section
from probe.tasks.geometry.config import GeometryOptions

LENGTH = "mean distance of the reference view"

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
    paper_views=4,
)
