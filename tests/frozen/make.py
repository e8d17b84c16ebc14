"""Write a small artifact root that later versions must be able to read.

`python -m tests.frozen.make tests/frozen/0.2.0.tar.xz` made the one of version 0.2.0.

Run once for each version that changes a format, before its release; archives of earlier versions stay as they are.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from configs.files import write_atomic
from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource
from tests.probe.networks import TINY

SPLITS = ("train", "train", "train", "select", "report", "report")
PROBE = ("profile=debug", "seeds=0", "dataset=toy", *(f"{key}={value}" for key, value in TINY.items()))


def spatialprobe(root: Path, *words: str) -> None:
    """Run a command on an artifact root."""
    subprocess.run([sys.executable, "-m", "spatialprobe", *words, f"root={root}"], check=True)


def make(root: Path) -> None:
    """Make a dataset, a store without manifest, a compressed and a sealed one, a fused view, and two runs."""
    shapes = {f"room_{i}": Shape(query_only=True, split=split) for i, split in enumerate(SPLITS)}
    prepare(ToySource(shapes), root / "datasets" / "toy", plans=("paper-2",), workers=1)
    common = ("dataset=toy", "grid=4x4", "workers=1")
    for words in (("model=pixels",), ("model=position",), ("model=oracle", "groups=depth,rays", "limit=5")):
        spatialprobe(root, "extract", "run", *words, *common)
    (plain,) = root.glob("features/toy/oracle-depth-rays/*/manifest.parquet")
    plain.unlink()
    with tempfile.TemporaryDirectory() as other:
        spatialprobe(
            root, "cache", "copy", "dataset=toy", "model=position", f"to={other}", "compression=zstd", "move=true"
        )
        (Path(other) / "features/toy/position").rename(root / "features/toy/position")
    spatialprobe(root, "fusion", "fuse", "dataset=toy", "model=pixels+position")
    spatialprobe(root, "probe", "train", "task=tagging", "model=pixels", "head.width=16", *PROBE)
    spatialprobe(root, "probe", "train", "task=geometry", "model=pixels+position", "dpt.features=8", *PROBE)


def main(target: Path) -> None:
    """Make the root in a temporary folder and pack it."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "artifacts"
        make(root)
        packed = Path(place) / "packed"
        with tarfile.open(packed, "w:xz") as archive:
            for name in ("datasets", "features", "runs", "results"):
                archive.add(root / name, name)
        write_atomic(target, packed.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
