"""Identity of a process, and whether it still lives: decided without comparing clocks of machines."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Holder:
    """One process on one boot of one machine.

    Attributes:
        host: host name, for people.
        place: identifies the process table that `pid` belongs to: boot id and pid namespace.
        pid: process id.
        started: start time of the process in clock ticks since boot, so that a reused pid is not mistaken.
        token: random, one per process.
    """

    host: str
    place: str
    pid: int
    started: int
    token: str

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Holder:
        """Rebuild from `dataclasses.asdict`."""
        return cls(
            str(values["host"]),
            str(values["place"]),
            int(values["pid"]),
            int(values["started"]),
            str(values["token"]),
        )

    @functools.cached_property
    def session(self) -> str:
        """A file name that carries what is needed to tell whether the process lives."""
        return f"{self.place}-{self.pid}-{self.started}-{self.token}"

    def lives(self) -> bool | None:
        """Whether the process still runs; None when it belongs to another machine and can't be asked."""
        return _lives(self.place, self.pid, self.started)


def session_lives(session: str) -> bool | None:
    """Whether the process of a session name still runs; None when unknown or when the name is foreign."""
    parts = session.split("-")
    if len(parts) != 4 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return _lives(parts[0], int(parts[1]), int(parts[2]))


@functools.cache
def this_process() -> Holder:
    """Return the holder that stands for the calling process."""
    pid = os.getpid()
    return Holder(socket.gethostname(), _place(), pid, _started(pid) or 0, uuid.uuid4().hex[:12])


os.register_at_fork(after_in_child=this_process.cache_clear)


@functools.cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip().replace("-", "")
        namespace = "".join(filter(str.isdigit, str(Path("/proc/self/ns/pid").readlink())))
    except OSError:  # no Linux /proc: other processes can't be asked, their silence has to be waited for
        return f"unknown{uuid.uuid4().hex}"
    return f"{boot}{namespace}"


def _started(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _lives(place: str, pid: int, started: int) -> bool | None:
    if place != _place():
        return None
    return _started(pid) == started and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "ZX"
    except (OSError, IndexError):
        return True
