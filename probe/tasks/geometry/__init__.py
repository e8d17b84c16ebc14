"""3D geometry: depth, point maps in the first camera's frame, and cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.net.config import GeometryProfile
from probe.task import Task, profile_section

if TYPE_CHECKING:
    from probe.module import ProbeModule


def _module() -> type[ProbeModule]:
    from probe.tasks.geometry.module import GeometryModule

    return GeometryModule


TASK = Task("geometry", GeometryProfile, profile_section("geometry"), _module, "has_depth", "abs_rel")
