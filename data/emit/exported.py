"""Writes a recording as the official exporter does: color/, depth/, pose/ and intrinsic/ with one file per frame."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.emit.annotation import png
from data.emit.scannet_scan import RawScan
from data.emit.sens import homogeneous


def write_exported(folder: Path, scan: RawScan) -> None:
    """Write the exported folder of a scan; numbers without leading zeros, matrices with six decimals."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for rank, image in enumerate(scan.colour):
        (folder / "color" / f"{rank}.jpg").write_bytes(image)
        (folder / "depth" / f"{rank}.png").write_bytes(png(scan.depth[rank]))
        (folder / "pose" / f"{rank}.txt").write_text(matrix_text(scan.cam2world[rank]))
    camera, identity = matrix_text(homogeneous(scan.intrinsics)), matrix_text(np.eye(4, dtype=np.float32))
    for kind in ("color", "depth"):
        (folder / "intrinsic" / f"intrinsic_{kind}.txt").write_text(camera)
        (folder / "intrinsic" / f"extrinsic_{kind}.txt").write_text(identity)


def matrix_text(matrix: NDArray[np.float32]) -> str:
    """Return a matrix as the exporter writes it."""
    buffer = io.StringIO()
    np.savetxt(buffer, matrix, fmt="%f")
    return buffer.getvalue()
