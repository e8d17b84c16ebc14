"""What a probe can be trained for: one folder per task, found by its name; see docs/add-a-task.md.

Start with a task's `__init__.py`, which declares it without torch; `module.py` is its network, loss and targets.
"""
