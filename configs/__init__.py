"""Typed configuration, the command line, paths, errors and console output that all stages share.

Nothing here imports torch or knows a stage. YAML files in the sub-folders fill dataclasses that the stages declare.
"""
