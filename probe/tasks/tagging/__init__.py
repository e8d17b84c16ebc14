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
        "random_map": Metric("mAP of random rankings", "higher", diagnostic=True, bounds="map"),
        "log_loss": Metric("log loss", "lower", "nats per class", high=None, diagnostic=True),
    },
    title="Semantic tagging",
    order=0,
    paper_queries=8,
    published_names={
        r"semantic_tag_head\.clip_proj\.(.+)": r"head.query_proj.\1",
        r"semantic_tag_head\.cls_heads\.(\d+)\.(.+)": r"head.classifier.\2[\1]",
        r"semantic_tag_head\.in_proj\.(.+)": r"head.in_proj.\1",
        r"semantic_tag_head\.(layers\.\d+)\.cross_attn\.(.+)": r"head.\1.multihead_attn.\2",
        r"semantic_tag_head\.(layers\.\d+)\.ffn\.0\.(.+)": r"head.\1.linear1.\2",
        r"semantic_tag_head\.(layers\.\d+)\.ffn\.3\.(.+)": r"head.\1.linear2.\2",
        r"semantic_tag_head\.(layers\.\d+\.(?:self_attn|norm[123])\..+)": r"head.\1",
    },
    pooled=True,
    classes=True,
)
