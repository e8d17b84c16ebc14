"""`spatialprobe data|extract|cache|fusion|probe <command> key=value ...`, `spatialprobe doctor|completion`."""

from __future__ import annotations

import sys

from spatialprobe import installation


def start() -> int:
    """Run the command line of this process with the packages of this installation."""
    installation.put_first()
    from spatialprobe.command import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
