"""The report as one self-contained page; start with `compose`, which writes `index.html` and `report.md`."""
