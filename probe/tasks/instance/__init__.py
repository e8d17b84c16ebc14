"""Instance grouping: which pixels of all queries belong to one object."""

from __future__ import annotations

from probe.task import Metric, Task, profile_section
from probe.tasks.instance.config import InstanceOptions

TASK = Task(
    "instance",
    InstanceOptions,
    profile_section("instance"),
    label_column="has_instance",
    headline="t_miou",
    metrics={
        "t_sr": Metric("T-SR", "higher", header="T-SR", scale=100.0, decimals=2),
        "t_miou": Metric("T-mIoU", "higher", header="T-mIoU", scale=100.0, decimals=2),
        "t_sr_things": Metric("T-SR, things", "higher"),
        "t_miou_things": Metric("T-mIoU, things", "higher"),
        "t_miou_ceiling": Metric("T-mIoU, ceiling of the grid", "higher", diagnostic=True, bounds="t_miou"),
        "t_sr_ceiling": Metric("T-SR, ceiling of the grid", "higher", diagnostic=True, bounds="t_sr"),
    },
    title="Instance grouping",
    order=1,
    paper_queries=8,
    published_names={r"instance_head\.(proj[123])\.(.+)": r"head.\1.\2"},
)
