"""Semantic tagging: which classes the views of a clip show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.net.config import TaggingProfile
from probe.task import Task, profile_section

if TYPE_CHECKING:
    from probe.module import ProbeModule


def _module() -> type[ProbeModule]:
    from probe.tasks.tagging.module import TaggingModule

    return TaggingModule


TASK = Task("tagging", TaggingProfile, profile_section("tagging"), _module, "has_tags", "map", pooled=True)
