"""Writes the rooms in the raw layouts of ScanNet and DL3DV, to try out the importers without their data.

Start with `command.py`.
"""
