"""Semantic tagging: which classes the queries of a clip show."""

from __future__ import annotations

from probe.task import Metric, Task, profile_section
from probe.tasks.tagging.config import TaggingOptions

TASK = Task(
    "tagging",
    TaggingOptions,
    profile_section("tagging"),
    label_column="has_tags",
    headline="map",
    metrics={
        "ap_mid": Metric("AP mid", "higher", header="AP_mid", scale=100.0, decimals=2),
        "map": Metric("mAP", "higher", header="mAP", scale=100.0, decimals=2),
        "mid_ratio": Metric("Mid Ratio", "higher", "ratio", high=None, header="Mid Ratio"),
        "ap_head": Metric("AP head", "higher"),
        "ap_tail": Metric("AP tail", "higher"),
        "of1": Metric("OF1", "higher"),
        "cf1": Metric("CF1", "higher"),
        "chance_map": Metric("mAP by chance", "higher", diagnostic=True, bounds="map"),
        "log_loss": Metric("log loss", "lower", "nats per class", high=None, diagnostic=True),
    },
    title="Semantic tagging",
    order=0,
    paper_queries=8,
    pooled=True,
    classes=True,
)
