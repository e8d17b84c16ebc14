"""Instance grouping: which pixels of all views belong to one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.net.config import InstanceProfile
from probe.task import Task, profile_section

if TYPE_CHECKING:
    from probe.module import ProbeModule


def _module() -> type[ProbeModule]:
    from probe.tasks.instance.module import InstanceModule

    return InstanceModule


TASK = Task("instance", InstanceProfile, profile_section("instance"), _module, "has_instance", "t_miou")
