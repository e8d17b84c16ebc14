"""What a report is made from.

Finished runs, their settings, feature sources and stores, and the commands that repeat them. Start with collect.py.
"""
