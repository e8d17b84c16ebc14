"""Strict readers of files that others made: folders, archives and JSON, pictures, videos.

Start with `folder.py`; nothing outside the given folder is ever read.
"""
