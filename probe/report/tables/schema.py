"""The tables of a report and the meaning of their columns.

Conventions: numbers in stored units (fractions, not times 100); null = undefined, with a `reason` where there is one;
intervals are 95 % percentile bootstrap over rooms; `cell` columns hold ids that table `cells` explains.
"""

from __future__ import annotations

from probe.report.tables.schema_facts import FACTS
from probe.report.tables.schema_scores import SCORES
from probe.report.tables.spec import TableSpec

TABLES: dict[str, TableSpec] = {**SCORES, **FACTS}
"""Table -> specification. `<metric>` stands for one column per metric of `probe.report.columns.COLUMNS`."""
