"""The tables of a report, and the specification of their columns.

Start with schema.py; each *_tables.py fills some of them.
"""
