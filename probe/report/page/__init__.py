"""The report as one self-contained page: `build(data, folder)` writes `index.html` and `report.md`."""

from probe.report.page.compose import build

__all__ = ["build"]
