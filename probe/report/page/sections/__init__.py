"""The sections of the page, one file per group of tables. Start with main_table.py."""
