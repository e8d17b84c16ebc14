"""The report: numbers from runs and stores (this package), shown as a page (`probe.report.page`)."""
