"""The metrics by key: which way is better, unit, range, and the column of the published table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "MetricInfo"]


@dataclass(frozen=True)
class MetricInfo:
    """What a reader needs to know to read a number.

    Attributes:
        title: name in tables and figures.
        better: `higher` or `lower` values are better.
        unit: unit of the stored number; published tables show fractions of tagging and instance times 100.
        low: smallest possible value.
        high: largest possible value; None when unbounded.
        primary: whether it is a column of the published table.
    """

    title: str
    better: Literal["higher", "lower"]
    unit: str
    low: float = 0.0
    high: float | None = 1.0
    primary: bool = False


_LENGTH = "mean distance of the reference view"

METRICS: dict[str, MetricInfo] = {
    "ap_mid": MetricInfo("AP mid", "higher", "fraction", primary=True),
    "map": MetricInfo("mAP", "higher", "fraction", primary=True),
    "mid_ratio": MetricInfo("Mid Ratio", "higher", "ratio", high=None, primary=True),
    "ap_head": MetricInfo("AP head", "higher", "fraction"),
    "ap_tail": MetricInfo("AP tail", "higher", "fraction"),
    "of1": MetricInfo("OF1", "higher", "fraction"),
    "cf1": MetricInfo("CF1", "higher", "fraction"),
    "t_sr": MetricInfo("T-SR", "higher", "fraction", primary=True),
    "t_miou": MetricInfo("T-mIoU", "higher", "fraction", primary=True),
    "t_sr_things": MetricInfo("T-SR, things", "higher", "fraction"),
    "t_miou_things": MetricInfo("T-mIoU, things", "higher", "fraction"),
    "pmap_err": MetricInfo("P-map error", "lower", _LENGTH, high=None, primary=True),
    "pmap_err_p50": MetricInfo("P-map error, median", "lower", _LENGTH, high=None),
    "pmap_err_p90": MetricInfo("P-map error, 90 %", "lower", _LENGTH, high=None),
    "pmap_err_p99": MetricInfo("P-map error, 99 %", "lower", _LENGTH, high=None),
    "pmap_err_p99_over_p50": MetricInfo("P-map error, 99 % / median", "lower", "ratio", high=None),
    "abs_rel": MetricInfo("AbsRel", "lower", "ratio", high=None, primary=True),
    "sq_rel": MetricInfo("SqRel", "lower", _LENGTH, high=None),
    "rmse": MetricInfo("RMSE", "lower", _LENGTH, high=None),
    "rmse_log": MetricInfo("RMSE log", "lower", "natural log", high=None),
    "log10": MetricInfo("log10", "lower", "decimal log", high=None),
    "delta_1": MetricInfo("delta < 1.25", "higher", "fraction"),
    "delta_2": MetricInfo("delta < 1.25^2", "higher", "fraction"),
    "delta_3": MetricInfo("delta < 1.25^3", "higher", "fraction"),
    "auc_30": MetricInfo("AUC@30", "higher", "fraction", primary=True),
    "auc_10": MetricInfo("AUC@10", "higher", "fraction"),
    "auc_5": MetricInfo("AUC@5", "higher", "fraction"),
    "auc_3": MetricInfo("AUC@3", "higher", "fraction"),
    "rac_5": MetricInfo("rotation < 5 deg", "higher", "fraction"),
    "rac_15": MetricInfo("rotation < 15 deg", "higher", "fraction"),
    "tac_5": MetricInfo("translation < 5 deg", "higher", "fraction"),
    "tac_15": MetricInfo("translation < 15 deg", "higher", "fraction"),
}
"""Every metric with a fixed key; the bucketed extras of `finegrained` are described in the documentation."""
